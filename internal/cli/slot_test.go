package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/position"
)

// TestSlotRepair: it looks, and makes nothing. What it lists and settles after a failover
// is TestFailoverThatLost of package pipeline.
func TestSlotRepair(t *testing.T) {
	db := pgtest.New(t)
	l := newLive(t, db)
	l.must("init")
	l.apply()
	l.refuses(3, []string{"SLOT_MISSING", "has not begun to stream"}, "slot", "repair")
	if n := pgtest.Value[int](t, db, "select count(*)::int from pg_replication_slots where database = current_database()"); n != 0 {
		t.Errorf("%d slots were made", n)
	}
	stop := l.startDaemon()
	pgtest.Eventually(t, 30*time.Second, func() bool {
		return pgtest.Value[int](t, db, "select count(*)::int from runnel.pipeline") == 1
	}, "the daemon has its slot")
	l.refuses(0, []string{"nothing to do"}, "slot", "repair")
	var r repairResult
	if l.result(&r, "slot", "repair"); r.Hash != "" || r.Fork != nil || r.Slot != nil || r.Applied {
		t.Errorf("%+v", r)
	}
	stop()
}

func TestRepairText(t *testing.T) {
	fork := &pipeline.Fork{Timeline: 2, LSN: "0/3000158", Lost: 60, Aggregates: 7, Readers: []string{"billing"}}
	r := repairResult{RepairPlan: pipeline.RepairPlan{Hash: "h", Fork: fork}, command: "runnel slot repair --apply h"}
	for i := range 60 {
		fork.Events = append(fork.Events, pipeline.LostEvent{Topic: "persistent://public/runnel/order", Partition: 1, ID: fmt.Sprint("id", i), Type: "OrderPlaced", Key: "k\x1b[1m",
			Position: position.Stamp{Position: position.Position{Epoch: 1, LSN: uint64(i)}}})
	}
	text := textOf(r.text)
	says(t, text, "timeline 2, which forked at 0/3000158", "60 events of 7 aggregates", "id49", "and 10 more", "Copies that hold them: billing", "runnel slot repair --apply h")
	if strings.Contains(text, "id50") || strings.Contains(text, "\x1b[1m") {
		t.Error(text)
	}
	r.Applied, fork.Readers = true, nil
	text = textOf(r.text)
	says(t, text, "settled", "does not tell this role")
	if strings.Contains(text, "--apply") {
		t.Error(text)
	}
}

func TestRepairSlotText(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 1, 2, 3, minute, 0, 0, time.UTC) }
	oldest, newest, complete := at(1), at(2), at(0)
	slot := &pipeline.SlotPlan{Name: "runnel_shop", Code: "SLOT_LOST", Message: "slot runnel_shop was invalidated\x1b[1m", Missing: 70, Oldest: &oldest, Newest: &newest,
		Complete: &complete, Uncovered: []capture.Interval{{From: at(3), To: at(4)}}}
	r := repairResult{RepairPlan: pipeline.RepairPlan{Hash: "h", Slot: slot}, command: "runnel slot repair --apply h"}
	for i := range 60 {
		slot.Events = append(slot.Events, pipeline.MissingEvent{ID: fmt.Sprint("id", i), Type: "OrderPlaced", AggregateType: "order", Key: "k\x1b[1m"})
	}
	text := textOf(r.text)
	says(t, text, "slot runnel_shop was invalidated", "committed by 2026-01-02 03:00:00 UTC was published", "70 events are in the outbox and in no topic",
		"began from 2026-01-02 03:01:00 UTC to 2026-01-02 03:02:00 UTC", "id49", "and 20 more", "keeps nothing from 2026-01-02 03:03:00 UTC to 2026-01-02 03:04:00 UTC", "runnel slot repair --apply h")
	if strings.Contains(text, "id50") || strings.Contains(text, "\x1b[1m") {
		t.Error(text)
	}
	slot.Complete, slot.Uncovered = nil, nil
	r.Applied = true
	says(t, textOf(r.text), "all rows of the outbox were compared", "70 events were in no topic: slot runnel_shop begins with them", "repaired: the daemon goes on by itself")
	slot.Missing, slot.Events = 0, nil
	says(t, textOf(r.text), "No event is missing")
}

func says(t *testing.T, text string, all ...string) {
	t.Helper()
	for _, want := range all {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

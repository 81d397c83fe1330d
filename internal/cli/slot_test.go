package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

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
	if l.result(&r, "slot", "repair"); r.Hash != "" || r.Lost != 0 || r.Applied {
		t.Errorf("%+v", r)
	}
	stop()
}

func TestRepairText(t *testing.T) {
	r := repairResult{RepairPlan: pipeline.RepairPlan{Hash: "h", Timeline: 2, Fork: "0/3000158", Lost: 60, Aggregates: 7, Readers: []string{"billing"}}, command: "runnel slot repair --apply h"}
	for i := range 60 {
		r.Events = append(r.Events, pipeline.LostEvent{Topic: "persistent://public/runnel/order", Partition: 1, ID: fmt.Sprint("id", i), Type: "OrderPlaced", Key: "k\x1b[1m",
			Position: position.Stamp{Position: position.Position{Epoch: 1, LSN: uint64(i)}}})
	}
	text := textOf(r.text)
	for _, want := range []string{"timeline 2, which forked at 0/3000158", "60 events of 7 aggregates", "id49", "and 10 more", "Copies that hold them: billing", "runnel slot repair --apply h"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "id50") || strings.Contains(text, "\x1b[1m") {
		t.Error(text)
	}
	r.Applied, r.Readers = true, nil
	if text := textOf(r.text); !strings.Contains(text, "settled") || !strings.Contains(text, "does not tell this role") || strings.Contains(text, "--apply") {
		t.Error(text)
	}
}

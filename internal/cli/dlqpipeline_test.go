package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// Events that the pipeline parked, from the writer's mistake to the retry, by commands.
func TestPipelineDeadLetters(t *testing.T) {
	db := pgtest.New(t)
	l := newLive(t, db)
	l.environ = append(l.environ, "RUNNEL_CAPTURE_POISON=park")
	l.must("init")
	if text := l.must("dlq", "list", "--pipeline"); text != "nothing is parked\n" {
		t.Errorf("before the first start: %s", text)
	}
	stop := l.startDaemon()
	publish := func(key, payload string) {
		db.Exec(t, "select runnel.publish('order', $1, 'Placed', $2::jsonb)", key, payload)
	}
	publish("1", `{"n": 1}`)
	publish("2", `{"n": 0, "note": "many"}`)
	publish("2", `{"n": 2}`)
	publish("3", `{"n": 0, "note": "more"}`)
	publish("3", `{"n": 3}`)

	var list letterListResult
	pgtest.Eventually(t, time.Minute, func() bool {
		l.result(&list, "dlq", "list", "--pipeline")
		return len(list.Events) == 4
	}, "four events to be parked")
	first := list.Events[0]
	if first.Key != "2" || first.Code != "EVENT_UNENCODABLE" || list.Events[1].Code != "EVENT_BEHIND_PARKED" || first.Encoding != "json" || time.Since(first.CommittedAt) > time.Hour {
		t.Errorf("%+v", list)
	}
	if text := l.must("dlq", "list", "--pipeline", "--limit", "1"); !strings.Contains(text, "EVENT_UNENCODABLE") || !strings.HasSuffix(text, "--limit shows them\n") {
		t.Errorf("list: %s", text)
	}
	if text := l.must("dlq", "show", first.ID, "--pipeline"); !strings.Contains(text, `"many"`) || !strings.Contains(text, first.Position) {
		t.Errorf("show: %s", text)
	}
	for _, wrong := range [][]string{
		{"dlq", "list"}, {"dlq", "list", "--pipeline", "--projection", "copy"}, {"dlq", "list", "--pipeline", "--version", "2"}, {"dlq", "show", "x", "--pipeline"},
		{"dlq", "retry", "--pipeline"}, {"dlq", "retry", "--pipeline", "--all", "--key", "3"}, {"dlq", "retry", "--pipeline", "--id", "x"},
		{"dlq", "discard", "--pipeline", "--id", uuid.Nil.String(), "--yes"},
	} {
		if code, _, stderr := l.run(t.Context(), wrong...); code != 2 || !strings.Contains(stderr, "USAGE") {
			t.Errorf("%q: exit code %d, %s", wrong, code, stderr)
		}
	}
	gone := "0197a3c2-5b1e-7c33-9f6a-3f2f6c1d8e10"
	l.notParked(gone, "--pipeline")
	if code, out, _ := l.run(t.Context(), "doctor", "--check", "parked"); code != 0 || !strings.Contains(out, "4 events of 2 aggregates") || !strings.Contains(out, "EVENTS_PARKED") {
		t.Errorf("doctor: exit code %d, %s", code, out)
	}
	if text := l.must("dlq", "discard", "--pipeline", "--id", first.ID); text != "1 event would be discarded with --yes; nothing was changed\n" {
		t.Errorf("discard without --yes: %s", text)
	}
	if text := l.must("dlq", "discard", "--pipeline", "--id", first.ID, "--id", gone, "--yes"); !strings.HasPrefix(text,
		"1 event discarded\n1 event not found among what is parked: "+gone+"\n1 event of 1 aggregate ") {
		t.Errorf("discard: %s", text)
	}
	l.notParked(first.ID, "--pipeline")
	if text := l.must("dlq", "retry", "--pipeline", "--all", "--dry-run"); text != "3 events would be retried; nothing was changed\n" {
		t.Errorf("retry: %s", text)
	}
	if text := l.must("dlq", "retry", "--pipeline", "--all"); !strings.Contains(text, "3 events of 2 aggregates retried\n") || !strings.Contains(text, "is parked again: ") || !strings.HasSuffix(text, "2 events are parked still\n") {
		t.Errorf("retry: %s", text)
	}
	if text := l.must("dlq", "retry", "--pipeline", "--key", "none"); text != "nothing that is parked matches\n" {
		t.Errorf("retry of nothing: %s", text)
	}
	// The catalog gets the field.
	placed := `{"type": "record", "name": "Placed", "aggregate": "order", "fields": [{"name": "n", "type": "int"}, {"name": "note", "type": "string", "default": ""}]}`
	if err := os.WriteFile(filepath.Join("schemas", "placed.avsc"), []byte(placed), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := stop(); code != 0 {
		t.Errorf("the daemon ended with %d", code)
	}
	if code, _, stderr := l.run(t.Context(), "dlq", "retry", "--pipeline", "--all", "--wait", "1s"); code != 1 || !strings.Contains(stderr, "RELEASE_PENDING") {
		t.Errorf("without a daemon: exit code %d, %s", code, stderr)
	}
	l.startDaemon()
	pgtest.Eventually(t, time.Minute, func() bool {
		l.result(&list, "dlq", "list", "--pipeline")
		return len(list.Events) == 0
	}, "all to be published")
}

package cli

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// Events that a projection parked, from the handler's refusal to the redrive, by
// commands.
func TestDeadLetters(t *testing.T) {
	db := pgtest.New(t)
	l := newLive(t, db)
	if code, _, stderr := l.run(t.Context(), "dlq", "list", "--projection", "copy"); code != 2 || !strings.Contains(stderr, "no projection ever ran in this one") {
		t.Errorf("before there is a projection: exit code %d, %s", code, stderr)
	}
	l.must("init")
	l.startDaemon()
	db.Exec(t, "select runnel.publish('order', (n % 5)::text, 'Placed', jsonb_build_object('n', n)) from generate_series(1, 20) n")

	var sick atomic.Bool
	sick.Store(true)
	var applied atomic.Int64
	stop := l.startProjection(db, consumers.Config{Name: "copy"}, func(_ context.Context, _ pgx.Tx, all []consumers.Message) error {
		for _, m := range all {
			if sick.Load() && m.AggregateID == "3" {
				return errors.New("no\x00thing of three")
			}
		}
		applied.Add(int64(len(all)))
		return nil
	})

	var list dlqListResult
	pgtest.Eventually(t, time.Minute, func() bool {
		l.result(&list, "dlq", "list", "--projection", "copy")
		return len(list.Events) == 4 && list.Events[0].State == "parked"
	}, "four events to be parked")
	first := list.Events[0]
	if first.Error != "nothing of three" || first.Tries != 2 || first.Key != "3" || list.Events[1].State != "behind" || list.More {
		t.Errorf("%+v", list)
	}
	if text := l.must("dlq", "list", "--projection", "copy", "--limit", "1"); !strings.Contains(text, "nothing of three") || !strings.HasSuffix(text, "--limit shows them\n") {
		t.Errorf("list: %s", text)
	}
	if text := l.must("dlq", "show", first.ID, "--projection", "copy"); !strings.Contains(text, `{"n":3}`) || !strings.Contains(text, first.Position) {
		t.Errorf("show: %s", text)
	}
	if text := l.must("dlq", "show", first.ID, "--projection", "copy", "--pulsar", "pulsar://127.0.0.1:1", "--pulsar-admin", "http://127.0.0.1:1"); !strings.Contains(text, first.Payload) || !strings.Contains(text, "undecoded") {
		t.Errorf("show without a broker: %s", text)
	}
	for _, name := range []string{"list", "retry"} {
		args := []string{"dlq", name, "--projection", "copyy"}
		if name == "retry" {
			args = append(args, "--all")
		}
		if code, _, stderr := l.run(t.Context(), args...); code != 2 || !strings.Contains(stderr, "It holds: copy.") {
			t.Errorf("%s of another name: exit code %d, %s", name, code, stderr)
		}
	}
	for _, wrong := range [][]string{
		{"dlq", "list"}, {"dlq", "show", "x", "--projection", "copy"}, {"dlq", "retry", "--projection", "copy"}, {"dlq", "list", "--projection", "copy", "--limit", "0"},
		{"dlq", "retry", "--projection", "copy", "--all", "--key", "3"}, {"dlq", "retry", "--projection", "copy", "--id", "x"},
		{"dlq", "discard", "--projection", "copy", "--id", uuid.Nil.String(), "--yes"},
	} {
		if code, _, stderr := l.run(t.Context(), wrong...); code != 2 || !strings.Contains(stderr, "USAGE") {
			t.Errorf("%q: exit code %d, %s", wrong, code, stderr)
		}
	}
	gone := "0197a3c2-5b1e-7c33-9f6a-3f2f6c1d8e10"
	l.notParked(gone, "--projection", "copy")
	if text := l.must("dlq", "retry", "--projection", "copy", "--id", gone, "--id", first.ID, "--id", list.Events[1].ID, "--dry-run"); text !=
		"2 events would be retried; nothing was changed\n1 event not found among what is parked: "+gone+"\n" {
		t.Errorf("retry of one that is not parked: %s", text)
	}
	var some dlqChangeResult
	l.result(&some, "dlq", "retry", "--projection", "copy", "--id", gone, "--id", first.ID+","+list.Events[1].ID)
	if some.Matched != 2 || some.Changed != 1 || len(some.NotFound) != 1 || some.NotFound[0] != gone {
		t.Errorf("%+v", some) // two events of one aggregate
	}
	pgtest.Eventually(t, time.Minute, func() bool {
		l.result(&list, "dlq", "list", "--projection", "copy")
		return len(list.Events) == 4 && list.Events[0].State == "parked"
	}, "the first to be parked again")
	if text := l.must("dlq", "discard", "--projection", "copy", "--id", first.ID); text != "1 event would be discarded with --yes; nothing was changed\n" {
		t.Errorf("discard without --yes: %s", text)
	}
	if text := l.must("dlq", "discard", "--projection", "copy", "--id", first.ID, "--id", gone, "--yes"); text !=
		"1 event discarded\n1 event not found among what is parked: "+gone+"\n" {
		t.Errorf("discard: %s", text)
	}
	l.notParked(first.ID, "--projection", "copy")
	pgtest.Eventually(t, time.Minute, func() bool {
		l.result(&list, "dlq", "list", "--projection", "copy")
		return len(list.Events) == 3 && list.Events[0].State == "parked"
	}, "the next one to be parked")
	sick.Store(false)
	if text := l.must("dlq", "retry", "--projection", "copy", "--all", "--dry-run"); text != "3 events would be retried; nothing was changed\n" {
		t.Errorf("retry: %s", text)
	}
	if text := l.must("dlq", "retry", "--projection", "copy", "--all"); text != "1 aggregate will be tried again\n" {
		t.Errorf("retry: %s", text)
	}
	pgtest.Eventually(t, time.Minute, func() bool {
		l.result(&list, "dlq", "list", "--projection", "copy")
		return len(list.Events) == 0 && applied.Load() == 19
	}, "all to be applied: %v", func() string { return list.Events[0].State })
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// notParked requires that commands say of an event that it is not parked: nothing was done of
// what they were asked.
func (l *live) notParked(id string, whose ...string) {
	l.t.Helper()
	for _, args := range [][]string{{"show", id}, {"retry", "--id", id}, {"retry", "--id", id, "--dry-run"}, {"discard", "--id", id}, {"discard", "--id", id, "--yes"}} {
		code, stdout, stderr := l.run(l.t.Context(), append(append([]string{"dlq"}, args...), whose...)...)
		if code != 2 || stdout != "" || !strings.Contains(stderr, "EVENT_NOT_PARKED") || !strings.Contains(stderr, id) {
			l.t.Errorf("%q: exit code %d, %s%s", args, code, stdout, stderr)
		}
	}
}

package pipeline_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/deadletter"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/pulsartest"
)

// TestRetryAfterMending: what was parked for a limit is published in order once the limit
// is mended, while events of the same aggregates go on arriving.
func TestRetryAfterMending(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Park = true
	w.init()
	w.start()
	w.write(1, 40)
	w.caughtUp()
	path := "/admin/v2/persistent/" + w.cfg.Namespace + "/order/maxMessageSize"
	pulsartest.Admin(t, http.MethodPost, path, 3000)
	w.shipped("3", strings.Repeat("x", 4000))
	w.write(41, 40)
	w.shipped("3", strings.Repeat("y", 4000))
	w.shipped("4", strings.Repeat("z", 4000))
	w.accounted("order", nil)
	if n := len(w.letters()); n < 5 {
		t.Fatalf("%d events are parked", n)
	}
	// Still too large: parked again, each in its place.
	before := w.letters()
	r := w.release(false, everything)
	if after := w.letters(); r.Left != len(before) || len(r.Again) == 0 || len(after) != len(before) || r.Aggregates != 2 {
		t.Errorf("%+v; %d were parked, %d are", r, len(before), len(after))
	}
	w.accounted("order", nil)
	pulsartest.Admin(t, http.MethodPost, path, 100_000)
	written := make(chan struct{})
	go func() {
		defer close(written)
		for n := 81; n < 481; n += 20 {
			w.write(n, 20)
		}
	}()
	// The broker, and the daemon, learn of a limit after a while.
	pgtest.Eventually(t, time.Minute, func() bool {
		r = w.release(false, everything)
		return len(r.Again) == 0
	}, "a retry that succeeds")
	<-written
	w.caughtUp()
	if r = w.release(false, everything); r.Left > 0 || len(w.letters()) > 0 {
		t.Errorf("%+v", r)
	}
	w.accounted("order", nil)
}

// TestRetryWithoutRest: events of an aggregate that is written to all the time are caught
// up with when its writers are held for a moment.
func TestRetryWithoutRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Park = true
	w.init()
	w.start()
	poisons["JSON that does not fit"].insert(w)
	ctx, cancel := context.WithCancel(t.Context())
	written := make(chan struct{})
	go func() {
		defer close(written)
		for n := 1; ctx.Err() == nil; n += 20 {
			w.write(n, 20)
		}
	}()
	pgtest.Eventually(t, time.Minute, func() bool { return len(w.letters()) > 50 }, "some to wait behind it")
	poison := func(l *deadletter.Letter) bool { return l.Code == "EVENT_UNENCODABLE" }
	discarded := map[string]bool{}
	for id, l := range w.letters() {
		if poison(l) {
			discarded[id] = true
		}
	}
	w.release(true, poison)
	r, err := pipeline.Release{Namespace: w.cfg.Namespace, Pipeline: w.cfg.Name, Slot: w.cfg.Slot, Client: w.client,
		DB: w.db.Conn(t), Match: everything, Exclusive: true}.Run(t.Context())
	if err != nil || r.Left > 0 || r.Events < 50 {
		t.Errorf("%+v, %v", r, err)
	}
	cancel()
	<-written
	w.accounted("order", discarded)
	if n := len(w.letters()); n > 0 {
		t.Errorf("%d are parked still", n)
	}
}

// TestDiscard: what is discarded is gone, and what stood behind it can be retried.
func TestDiscard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Park = true
	w.init()
	_, stop := w.start()
	w.write(1, 40)
	poisons["JSON that does not fit"].insert(w)
	w.write(41, 60)
	w.accounted("order", nil)
	poison := func(l *deadletter.Letter) bool { return l.Code == "EVENT_UNENCODABLE" }
	discarded := map[string]bool{}
	for id, l := range w.letters() {
		if poison(l) {
			discarded[id] = true
		}
	}
	if r := w.release(true, poison); r.Events != 1 || r.Left == 0 {
		t.Errorf("%+v", r)
	}
	w.accounted("order", discarded)
	if r := w.release(false, everything); r.Left > 0 || r.Events == 0 {
		t.Errorf("%+v", r)
	}
	w.accounted("order", discarded)
	if n := len(w.letters()); n > 0 {
		t.Errorf("%d are parked still", n)
	}
	// A daemon that starts knows as much.
	stop()
	w.cfg.Park = false
	p, _ := w.start()
	w.write(101, 20)
	w.accounted("order", discarded)
	if st := p.Status(); st.Parked != nil {
		t.Errorf("%+v", st.Parked)
	}
}

// TestReleaseNeedsTheOwner: and says so; a role that was given the function may, too.
func TestReleaseNeedsTheOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Park = true
	w.init()
	_, stop := w.start()
	poisons["JSON that does not fit"].insert(w)
	w.accounted("order", nil)
	daemon, err := pgx.Connect(t.Context(), w.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = daemon.Close(context.WithoutCancel(t.Context())) }()
	_, err = w.releaseWith(daemon, false, everything)
	if !errors.Is(err, pipeline.ErrReleaseRight) {
		t.Errorf("as the daemon: %v", err)
	}
	if _, err := daemon.Exec(t.Context(), "insert into runnel.control (pipeline, kind) values ('p', 'release')"); err == nil {
		t.Error("the daemon's role may write to runnel.control")
	}
	// A role of operators, with what the remedy grants and no more.
	operator := pgtest.Conn(t, w.db.CreateRole(t, "operator"))
	_, grants, _ := strings.Cut(pipeline.ErrReleaseRight.Remedy, "\n")
	w.db.Exec(t, strings.ReplaceAll(grants, "NAME", `"`+w.db.Role("operator")+`"`))
	stop()
	release := pipeline.Release{Namespace: w.cfg.Namespace, Pipeline: w.cfg.Name, Slot: w.cfg.Slot, Client: w.client, DB: operator, Match: everything, Wait: time.Second}
	_, err = release.Run(t.Context())
	if !errors.Is(err, pipeline.ErrReleasePending) {
		t.Errorf("without a daemon: %v", err)
	}
	w.start()
	w.accounted("order", nil)
	if n := len(w.letters()); n != 1 {
		t.Errorf("%d are parked; want the one that cannot be published yet", n)
	}
}

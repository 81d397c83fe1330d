package consumers_test

import (
	"errors"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// impatient looks after a silent subscription at once.
func impatient(p *consumers.Projection) {
	handleFold(p)
	p.SetSilence(10 * time.Millisecond)
}

// A subscription that was moved forward, by whomever, loses nothing.
func TestSubscriptionWasMovedForward(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 5, want)
	r := start(t, w.config(t), handleFold)
	w.appliedAll(t)
	r.stop(t)
	w.fill(t, 250, want)
	w.change(func() { w.acked[orders+"-partition-0 fulfilment"] = 200 })
	r = start(t, w.config(t), handleFold)
	w.appliedAll(t)
	r.stop(t)
	w.requireCopy(t, want)
	if n := w.saw.applied.Load(); n != 255 {
		t.Errorf("%d applied, want 255", n)
	}
}

// As Pulsar may at a takeover: it goes on without messages in the middle, and
// the broker does not answer at once when the topic is read.
func TestSubscriptionLeavesOut(t *testing.T) {
	w := newWorld(t, 2)
	of := broker.Partition{Topic: orders}
	want := make(truth)
	w.fill(t, 20, want)
	r := start(t, w.config(t), func(p *consumers.Projection) {
		handleFold(p)
		p.SetSleep(w.pauses.sleep)
	})
	w.appliedAll(t)
	for range 3 {
		w.change(func() { w.mute, w.readErr = true, errors.New("no answer") })
		w.fill(t, 20, want)
		w.leaveOut(of, "fulfilment", 3)
		w.change(func() { w.mute = false })
		w.appliedAll(t)
	}
	r.stop(t)
	w.requireCopy(t, want)
}

// As Pulsar may at a takeover: it delivers nothing, until the next message is
// published.
func TestSilentSubscription(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	r := start(t, w.config(t), impatient)
	pgtest.Eventually(t, patience, func() bool { return len(r.Status()) == 1 && r.Status()[0].Connected }, "subscribed")
	w.change(func() { w.mute = true })
	w.fill(t, 250, want)
	w.appliedAll(t)
	w.change(func() { w.mute = false })
	w.fill(t, 5, want)
	w.appliedAll(t)
	r.stop(t)
	w.requireCopy(t, want)
	if n := w.ackedOf(broker.Partition{Topic: orders}, "fulfilment"); n != 255 {
		t.Errorf("%d acknowledged", n)
	}
}

// An instance that is not served leaves the partition to the one that is.
func TestStandbyDoesNotCatchUp(t *testing.T) {
	w := newWorld(t, 1)
	one := start(t, w.config(t), handleFold)
	connected := func(r *running) {
		pgtest.Eventually(t, patience, func() bool { return len(r.Status()) == 1 && r.Status()[0].Connected }, "subscribed")
	}
	connected(one)
	w.change(func() { w.mute = true })
	two := start(t, w.config(t), impatient)
	connected(two)
	want := make(truth)
	w.fill(t, 10, want)
	looked := func() (asked, reads int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.asked, w.reads
	}
	pgtest.Eventually(t, patience, func() bool { asked, _ := looked(); return asked > 3 }, "the standby looks after its silence")
	if _, reads := looked(); reads > 0 {
		t.Error("the standby read the topic")
	}
	w.handOver(broker.Partition{Topic: orders}, "fulfilment")
	w.appliedAll(t)
	_, reads := looked()
	w.handOver(broker.Partition{Topic: orders}, "fulfilment")
	w.fill(t, 10, want)
	w.change(func() { w.mute = false })
	w.appliedAll(t)
	one.stop(t)
	two.stop(t)
	w.requireCopy(t, want)
	if reads == 0 {
		t.Error("the topic was not read")
	}
}

// A copy restored from a backup stands behind what the broker was told.
func TestCopyIsRestoredOnPulsar(t *testing.T) {
	s := onPulsar(t, 1)
	w := &world{db: pgtest.New(t), scripted: newScripted(nil)}
	want := make(truth)
	cfg := w.config(t)
	cfg.Broker, cfg.Namespace = consumers.BrokerConfig{}, s.namespace
	at := func(n uint64) func() bool { return func() bool { return w.positions(t)[0] == n } }
	s.fill(t, 20, want)
	r := start(t, cfg, handleFold)
	pgtest.Eventually(t, patience, at(20), "the first events are applied")
	r.stop(t)
	conn := w.db.Conn(t)
	for _, sql := range []string{
		`create table backup_fold as table fulfilment.fold`,
		`create table backup_position as table runnel_projections.position`,
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	s.fill(t, 300, want)
	r = start(t, cfg, handleFold)
	pgtest.Eventually(t, patience, at(320), "more events are applied")
	r.stop(t)
	for _, sql := range []string{
		`truncate fulfilment.fold, runnel_projections.position, runnel_projections.parked, runnel_projections.passed`,
		`insert into fulfilment.fold table backup_fold`,
		`insert into runnel_projections.position table backup_position`,
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	r = start(t, cfg, impatient) // nothing new is published
	pgtest.Eventually(t, patience, at(320), "the restored copy catches up")
	r.stop(t)
	w.requireCopy(t, want)
}

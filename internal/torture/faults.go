package torture

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/runnel-cdc/runnel/internal/failpoint"
	"github.com/runnel-cdc/runnel/internal/pipeline"
)

// What a fault is expected to end in.
const (
	resumes      = "resume"
	backPressure = "back-pressure, then drain"
)

// fault is a kind of fault. carryOut makes it happen, and mends what a person
// would have to mend; it returns an error when something went otherwise than
// expected. That events pass again afterwards is required of every fault.
type fault struct {
	name     string
	expect   string
	first    bool   // only during the initial snapshot
	group    string // drawn only when the group, or the kind, is asked for; empty: always
	carryOut func(*runner, context.Context, *FaultRecord) error
}

// kindsOfFaults are all of them.
func kindsOfFaults() []fault {
	all := []fault{
		{name: "kill@capture.snapshot", expect: resumes, first: true, carryOut: (*runner).killInSnapshot},
		killAt("capture.row", 1500, false),
		killAt("pipeline.send", 1500, false),
		killAt("pipeline.sent", 1500, false),
		killAt("pipeline.acked", 60, false),
		killAt("capture.confirmed", 3, false),
		killAt("broker.exclusive", 6, true),
		killAt("broker.settled", 6, true),
		killAt("broker.tail", 6, true),
		killAt("broker.probe", 6, true),
		failedAdd("broker.ack"),
		failedAdd("broker.send"),
		{name: "pause", expect: resumes, carryOut: (*runner).pausedPublisher},
		{name: "pause.connected", expect: resumes, carryOut: (*runner).pausedConnected},
		{name: "kill", expect: resumes, carryOut: (*runner).killOutside},
		{name: "terminate", expect: resumes, carryOut: (*runner).terminate},
		{name: "two", expect: resumes, carryOut: (*runner).twoDaemons},
		{name: "starve", expect: resumes, carryOut: (*runner).starve},
		{name: "broker.kill", expect: resumes, carryOut: (*runner).killBroker},
		{name: "broker.pause", expect: resumes, carryOut: (*runner).pauseBroker},
		{name: "broker.freeze", expect: resumes, carryOut: (*runner).freezeBroker},
		{name: "topic.unload", expect: resumes, carryOut: (*runner).unload},
		{name: "topic.size", expect: "halt EVENT_TOO_LARGE", carryOut: (*runner).smallMessages},
		{name: "topic.quota", expect: backPressure, carryOut: (*runner).quota},
		{name: "topic.deduplication", expect: "halt NAMESPACE_POLICY or DEDUPLICATION_OFF", carryOut: (*runner).deduplicationOff},
		{name: "postgres.crash", expect: resumes, carryOut: (*runner).crashPostgres},
		{name: "walsender", expect: resumes, carryOut: (*runner).killWalsender},
		{name: "copy.kill", expect: resumes, carryOut: (*runner).killCopy},
		killCopyAt("consumers.applied"),
		killCopyAt("consumers.committed"),
		{name: "copy.poison", expect: resumes, carryOut: (*runner).poisonCopy},
		{name: "copy.rebuild", expect: resumes, carryOut: (*runner).rebuildCopy},
	}
	return slices.Concat(all, netFaults(), diskFaults(), slotFaults(), poisonFaults(), routeFaults())
}

// killAt kills the daemon at a failpoint. Points that are passed at the start of
// a run alone need one: its walsender is ended.
func killAt(point string, most int, restart bool) fault {
	return fault{name: "kill@" + point, expect: resumes, carryOut: func(r *runner, ctx context.Context, rec *FaultRecord) error {
		rec.Rule = r.killRule(point, most)
		if err := r.daemon.arm(rec.Rule); err != nil {
			return err
		}
		if restart {
			if err := r.endWalsender(ctx); err != nil {
				return err
			}
		}
		if err := r.killsItself(ctx, rec, r.daemon); err != nil {
			return err
		}
		return r.startDaemon(ctx, "")
	}}
}

// killInSnapshot is killAt for the rows from before the slot.
func (r *runner) killInSnapshot(ctx context.Context, rec *FaultRecord) error {
	rec.Rule = r.killRule("capture.snapshot", r.o.Before)
	if err := r.startDaemon(ctx, rec.Rule); err != nil {
		return err
	}
	err := r.killsItself(ctx, rec, r.daemon)
	// Not before it dies is it known to have come so far. A successor that applies
	// too would set right what topic.deduplication sets wrong.
	r.made = err == nil
	return err
}

// killRule draws the hit of a failpoint, at most the given one, that kills.
func (r *runner) killRule(point string, most int) string {
	return fmt.Sprintf("%s:%d:kill", point, 1+r.rand.IntN(most))
}

// killsItself waits for the end of a process that is armed with the record's rule.
func (r *runner) killsItself(ctx context.Context, rec *FaultRecord, p *process) error {
	report, err := p.awaitRule(ctx, rec.Rule, r.o.Patience)
	if err != nil {
		return err
	}
	if err := p.gone(ctx, r.o.Patience); err != nil {
		return err
	}
	return r.fired(ctx, rec, report.Hits)
}

// failedAdd makes a send fail, before the message is on its way or although it
// is stored: nothing is sent again by itself.
func failedAdd(point string) fault {
	return fault{name: "error@" + point, expect: resumes, carryOut: func(r *runner, ctx context.Context, rec *FaultRecord) error {
		rec.Rule = fmt.Sprintf("%s:%d:error", point, 1+r.rand.IntN(800))
		if err := r.daemon.arm(rec.Rule); err != nil {
			return err
		}
		report, err := r.daemon.awaitRule(ctx, rec.Rule, r.o.Patience)
		if err != nil {
			return err
		}
		return r.fired(ctx, rec, report.Hits)
	}}
}

// pausedPublisher stops the daemon until its connections were dropped, lets the
// one that stands by publish and die, and lets the first one go on: before the
// other's death or after it.
func (r *runner) pausedPublisher(ctx context.Context, rec *FaultRecord) error {
	paused := r.daemon
	dies := fmt.Sprintf("pipeline.acked:%d:kill", 5+r.rand.IntN(40))
	successor, err := r.standby(ctx, publishes+","+dies)
	if err != nil {
		return err
	}
	defer successor.Kill()
	rec.Rule = fmt.Sprintf("pipeline.sent:%d:stop", 1+r.rand.IntN(1000))
	if err := paused.arm(rec.Rule); err != nil {
		return err
	}
	run := paused.status(ctx).Run
	report, err := r.stopsItself(ctx, rec, paused)
	if err != nil {
		return err
	}
	defer paused.Signal(syscall.SIGCONT)
	began := time.Now()
	if err := r.fired(ctx, rec, report.Hits); err != nil {
		return err
	}
	if err := rec.takenOver(ctx, successor, began); err != nil {
		return err
	}
	if r.rand.IntN(2) == 0 {
		rec.Note += ", the first goes on meanwhile"
		paused.Signal(syscall.SIGCONT)
	}
	if _, err = successor.awaitRule(ctx, dies, r.o.Patience); err != nil {
		return err
	}
	if err := successor.gone(ctx, r.o.Patience); err != nil {
		return err
	}
	paused.Signal(syscall.SIGCONT)
	// What it had sent is acknowledged to it now. It goes on in a new run.
	return await(ctx, r.o.Patience, func(ctx context.Context) bool {
		now := paused.status(ctx)
		return now.State == pipeline.Streaming && now.Run > run
	})
}

// pausedConnected stops the daemon with messages still to be sent, and ends its
// replication session, but not its connections to the broker: a successor has
// the slot while the first one holds the partitions. Then the first one goes on.
func (r *runner) pausedConnected(ctx context.Context, rec *FaultRecord) error {
	second, err := r.standby(ctx, publishes)
	if err != nil {
		return err
	}
	paused := r.daemon
	r.daemon = second
	defer paused.Kill()
	rec.Rule = fmt.Sprintf("pipeline.sent:%d:stop", 1+r.rand.IntN(1000))
	if err := paused.arm(rec.Rule); err != nil {
		return err
	}
	report, err := r.stopsItself(ctx, rec, paused)
	if err != nil {
		return err
	}
	if err := r.endWalsender(ctx); err != nil {
		return err
	}
	if err := r.fired(ctx, rec, report.Hits); err != nil {
		return err
	}
	// Less than the broker needs to notice, which asks after the 2 s of
	// keepAliveIntervalSeconds. Rightly, the second one waits.
	rec.Note = "the second daemon waited"
	if _, err := second.awaitRule(ctx, publishes, 1500*time.Millisecond); err == nil {
		rec.Note = "the second daemon published: the broker had given up the first"
	}
	paused.Signal(syscall.SIGCONT)
	// It is to send what it still has, if anybody lets it, before it is killed.
	return await(ctx, r.o.Patience, func(ctx context.Context) bool { return paused.status(ctx).State == pipeline.Waiting })
}

// stopsItself waits until a process that is armed with the record's rule is stopped.
func (r *runner) stopsItself(ctx context.Context, rec *FaultRecord, p *process) (failpoint.Report, error) {
	report, err := p.awaitRule(ctx, rec.Rule, r.o.Patience)
	if err != nil {
		return report, err
	}
	if err := await(ctx, r.o.Patience, func(context.Context) bool { return p.stopped() }); err != nil {
		return report, fmt.Errorf("stopping the daemon: %w", err)
	}
	return report, nil
}

// killOutside kills the daemon as an operator's machine would: at no step in
// particular.
func (r *runner) killOutside(ctx context.Context, rec *FaultRecord) error {
	if err := r.trigger(ctx, rec, func() error { r.daemon.Kill(); return nil }); err != nil {
		return err
	}
	return r.startDaemon(ctx, "")
}

// terminate is a shutdown in order.
func (r *runner) terminate(ctx context.Context, rec *FaultRecord) error {
	err := r.trigger(ctx, rec, func() error {
		r.daemon.Signal(syscall.SIGTERM)
		return r.daemon.gone(ctx, r.o.Patience)
	})
	if err != nil {
		return err
	}
	return r.startDaemon(ctx, "")
}

// twoDaemons lets a second daemon stand by the first, which dies.
func (r *runner) twoDaemons(ctx context.Context, rec *FaultRecord) error {
	second, err := r.standby(ctx, publishes)
	if err != nil {
		return err
	}
	if err := r.trigger(ctx, rec, func() error { r.daemon.Kill(); return nil }); err != nil {
		second.Kill()
		return err
	}
	began := time.Now()
	r.daemon = second
	return rec.takenOver(ctx, second, began)
}

// publishes is the rule of a daemon that stands by: it fires at its first
// acknowledgements.
const publishes = "pipeline.acked:1:note"

// standby starts a daemon beside the one that publishes. It waits.
func (r *runner) standby(ctx context.Context, rules string) (*process, error) {
	second, err := r.spawn(ctx, roleDaemon, r.daemonSettings(), rules)
	if err != nil {
		return nil, err
	}
	if err := await(ctx, r.o.Patience, func(ctx context.Context) bool { return second.status(ctx).State == pipeline.Waiting }); err != nil {
		second.Kill()
		return nil, fmt.Errorf("the second daemon does not say that it waits: %w", err)
	}
	return second, nil
}

// takeover is how long one that stands by may take. After a death it takes less
// than 5 s on a machine of its own; a daemon that was stopped keeps its connections
// until the servers drop them.
const takeover = 15 * time.Second

// takenOver waits until one that stood by publishes.
func (f *FaultRecord) takenOver(ctx context.Context, second *process, began time.Time) error {
	_, err := second.awaitRule(ctx, publishes, takeover)
	f.Takeover = time.Since(began).Milliseconds()
	f.Note = fmt.Sprintf("taken over within %d ms", f.Takeover)
	return err
}

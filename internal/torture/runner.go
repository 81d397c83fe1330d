package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/router"
)

// The roles of children, which are the program's hidden subcommands.
const (
	roleDaemon = "daemon"
	roleCopy   = "copy"
	roleRepair = "repair"
	roleBurn   = "burn"
)

// runner is a run. It belongs to one goroutine; workload and sampler have their own.
type runner struct {
	o     Options
	rand  *rand.Rand
	stack *devstack.Stack

	source string // the source database, as a superuser
	asRole string // the same, as the daemon's role
	target string // the copy's database

	load     *workload
	sampler  *sampler
	daemon   *process
	copy     *process
	spawned  []*process         // all that ever were
	made     bool               // namespace, topics and schemas, by the first daemon
	version  int                // of the projection
	park     bool               // the daemons park what cannot be published
	routes   []router.RouteRule // of the daemons that are started
	reroutes bool               // they change
	net      *network           // between the daemon and the servers; nil: nothing is
	history  History
}

// Run makes a run, saves its history in Options.Dir and judges it. The error is
// of the run itself: one without an error may still have findings.
func Run(ctx context.Context, o Options) (v *Verdict, err error) {
	o = o.withDefaults()
	r := &runner{o: o, rand: rand.New(rand.NewPCG(o.Seed, 1))}
	faults, endless, err := plan(r.rand, o.Faults)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	if err := writeSchemas(filepath.Join(o.Dir, "schemas")); err != nil {
		return nil, err
	}
	r.history.Run = RunRecord{Seed: o.Seed, Began: now(), Partitions: partitions, Planned: len(faults), Topics: topicOf(), Jumps: o.Jumps}
	servers := devstack.Options{Postgres: true, Pulsar: true, PGVersion: o.PGVersion, Ephemeral: true,
		Progress: func(text string) { r.say("%s", text) }}
	if hasGroup(faults, groupDisk) {
		servers.DiskMargin = diskMargin
	}
	if r.stack, err = devstack.Up(ctx, servers); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil || v == nil || !v.OK() {
			err = errors.Join(err, r.keepLogs())
		}
		err = errors.Join(err, r.stack.Down(context.WithoutCancel(ctx)))
	}()
	r.park, r.routes = hasGroup(faults, groupPoison), routes()
	r.reroutes = hasGroup(faults, groupRoutes)
	if hasGroup(faults, groupNet) {
		if r.net, err = newNetwork(r.stack); err != nil {
			return nil, err
		}
		defer r.net.close()
	}
	if err := r.torture(ctx, faults, endless); err != nil {
		return nil, err
	}
	if err := r.collect(ctx); err != nil {
		return nil, fmt.Errorf("collect the history: %w", err)
	}
	if err := r.history.Save(o.Dir); err != nil {
		return nil, err
	}
	return Judge(&r.history), nil
}

// partitions of each topic.
const partitions = 3

func now() int64 { return time.Now().UnixMicro() }

// some draws a length.
func (r *runner) some(below time.Duration) time.Duration {
	return time.Duration(r.rand.Int64N(int64(below)))
}

func (r *runner) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.o.Out, time.Now().Format("15:04:05.000 ")+format+"\n", args...) // nobody to tell
}

// torture lets the workload write while fault after fault is carried out, then
// waits for everything to arrive.
func (r *runner) torture(ctx context.Context, faults []fault, endless bool) (err error) {
	if err := r.prepare(ctx); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	defer func() {
		for _, p := range r.spawned {
			p.Kill()
		}
	}()
	r.sampler = newSampler(r.source)
	stopSampler := r.sampler.start(ctx)
	defer stopSampler()
	r.load = newWorkload(r.source, r.o.Seed, r.o.Pace, r.say)
	r.load.start(ctx, r.o.Writers)
	stopped := false
	defer func() {
		if !stopped {
			err = errors.Join(err, r.load.stop(context.WithoutCancel(ctx)))
		}
	}()
	for len(faults) > 0 && faults[0].first {
		r.one(ctx, faults[0], false)
		faults = faults[1:]
	}
	if err := r.begin(ctx); err != nil {
		if ctx.Err() != nil {
			return err
		}
		// A daemon that never gets going is a finding as well.
		rec := FaultRecord{N: len(r.history.Faults) + 1, Fault: faultStart, Expect: "events pass", Outcome: err.Error()}
		r.say("%s: %s", rec.Fault, rec.Outcome)
		if err := r.fired(ctx, &rec, nil); err != nil {
			return err
		}
		r.history.Faults = append(r.history.Faults, rec)
		if r.copy == nil {
			if err := r.startCopy(ctx); err != nil {
				return err
			}
		}
		faults, endless = nil, false
	}
	over := time.Now().Add(r.o.Duration)
	for i := 0; ; i++ {
		if i == len(faults) {
			if !endless {
				break
			}
			faults = append(faults, bag(r.rand, pool(r.o.Faults), len(pool(r.o.Faults)))...)
			faults = slices.DeleteFunc(faults, func(f fault) bool { return f.first })
		}
		if endless && time.Now().After(over) {
			break
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if ok := r.one(ctx, faults[i], true); !ok && r.o.GiveUp {
			break
		}
	}
	if endless {
		r.history.Run.Planned = 0 // as many as there was time for
	}
	stopped = true
	if err := r.load.stop(ctx); err != nil {
		return fmt.Errorf("stop the writers: %w", err)
	}
	if err := r.drain(ctx); err != nil {
		return err
	}
	return r.endDaemon(ctx)
}

// begin starts daemon and copy, and waits until events pass.
func (r *runner) begin(ctx context.Context) error {
	if err := r.startDaemon(ctx, ""); err != nil {
		return err
	}
	if err := r.passing(ctx, 1); err != nil {
		return fmt.Errorf("the daemon does not publish: %w", err)
	}
	if err := r.snapshotDone(ctx); err != nil {
		return err
	}
	r.made = true
	if r.reroutes {
		if err := r.openTopics(ctx); err != nil {
			return err
		}
	}
	r.load.unhurt.Store(true)
	// A subscription that nobody reads: what a quota on the backlog counts.
	if err := r.admin(ctx, "PUT", topicPath("parcel")+"/subscription/laggard", nil); err != nil {
		return err
	}
	if err := r.startCopy(ctx); err != nil {
		return err
	}
	// Not before it has made its tables is it the live one.
	return r.copying(ctx)
}

// one carries a fault out and records it. What goes wrong is a finding, and the
// run goes on with a fresh daemon.
func (r *runner) one(ctx context.Context, f fault, passes bool) bool {
	r.checkCopy(ctx)
	rec := FaultRecord{N: len(r.history.Faults) + 1, Fault: f.name, Expect: f.expect}
	err := f.carryOut(r, ctx, &rec)
	began := time.Now()
	if err == nil && passes {
		err = r.passing(ctx, 3)
	}
	if err == nil && passes && r.copy != nil {
		err = r.copying(ctx)
	}
	rec.Millis = time.Since(began).Milliseconds()
	if rec.OK = err == nil; rec.OK {
		rec.Outcome = f.expect
	} else {
		rec.Outcome = err.Error()
		r.rescue(ctx)
	}
	r.say("fault %d %s %s: %s %s (%d ms)", rec.N, rec.Fault, rec.Rule, rec.Outcome, rec.Note, rec.Millis)
	r.history.Faults = append(r.history.Faults, rec)
	return rec.OK
}

// checkCopy records a projection that ended by itself, and starts another: none of
// the faults may cover up for it.
func (r *runner) checkCopy(ctx context.Context) {
	if r.copy == nil || r.copy.Alive() {
		return
	}
	rec := FaultRecord{N: len(r.history.Faults) + 1, Fault: faultCopy, Expect: "it runs", Outcome: fmt.Sprintf("%s ended by itself: %v", r.copy.name, r.copy.Err())}
	r.say("%s: %s", rec.Fault, rec.Outcome)
	r.history.Faults = append(r.history.Faults, rec)
	if err := r.startCopy(ctx); err != nil {
		r.say("start a projection after that: %v", err)
	}
}

// rescue brings daemon and projection back after a fault that ended otherwise than expected.
func (r *runner) rescue(ctx context.Context) {
	if r.net != nil {
		r.net.heal()
	}
	if r.daemon != nil {
		r.daemon.Kill()
	}
	if err := r.startDaemon(ctx, ""); err != nil {
		r.say("start a daemon after that: %v", err)
	}
	if r.copy != nil && !r.copy.Alive() {
		if err := r.startCopy(ctx); err != nil {
			r.say("start a projection after that: %v", err)
		}
	}
}

// trigger carries a fault out at an acknowledgement that is drawn.
func (r *runner) trigger(ctx context.Context, rec *FaultRecord, do func() error) error {
	rec.Rule = fmt.Sprintf("pipeline.acked:%d:note", 3+r.rand.IntN(50))
	if err := r.daemon.arm(rec.Rule); err != nil {
		return err
	}
	report, err := r.daemon.awaitRule(ctx, rec.Rule, r.o.Patience)
	if err != nil {
		return err
	}
	if err := r.fired(ctx, rec, report.Hits); err != nil {
		return err
	}
	return do()
}

// fired notes what was under way.
func (r *runner) fired(ctx context.Context, rec *FaultRecord, hits map[string]int64) error {
	now, err := r.look(ctx)
	rec.Fired, rec.At, rec.Hits, rec.Confirmed, rec.WAL = true, now.At, hits, now.Confirmed, now.WAL
	if err == nil && ofCopy(rec.Fault) {
		rec.Behind, err = r.behind(ctx)
	}
	return err
}

func (r *runner) daemonSettings() settings {
	s := settings{Postgres: r.asRole, Pulsar: r.stack.PulsarURL, PulsarAdmin: r.stack.PulsarAdminURL,
		Schemas: filepath.Join(r.o.Dir, "schemas"), Partitions: partitions, AutoApply: !r.made, Park: r.park, Routes: r.routes}
	if r.net != nil {
		r.net.lead(&s)
	}
	return s
}

// startDaemon starts a daemon in the place of one that is gone.
func (r *runner) startDaemon(ctx context.Context, rules string) (err error) {
	if r.daemon != nil {
		r.daemon.Kill() // it is gone, unless a fault ended otherwise than expected
	}
	r.daemon, err = r.spawn(ctx, roleDaemon, r.daemonSettings(), rules)
	return err
}

func (r *runner) startCopy(ctx context.Context) (err error) {
	r.copy, err = r.spawnCopy(ctx, r.version, "")
	return err
}

func (r *runner) spawnCopy(ctx context.Context, version int, rules string) (*process, error) {
	return r.spawn(ctx, roleCopy, settings{Postgres: r.target, Pulsar: r.stack.PulsarURL, PulsarAdmin: r.stack.PulsarAdminURL, Version: version}, rules)
}

package torture

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
)

// Faults of the projection's.

// killLive kills a process that has not ended by itself.
func killLive(p *process) error {
	if !p.Alive() {
		return fmt.Errorf("%s ended by itself: %w", p.name, p.Err())
	}
	p.Kill()
	return nil
}

// killCopy kills the projection; its successor is there already, or not yet.
func (r *runner) killCopy(ctx context.Context, rec *FaultRecord) error {
	old := r.copy
	overlap := r.rand.IntN(2) == 0
	if overlap {
		if err := r.startCopy(ctx); err != nil {
			return err
		}
	}
	kill := func() error {
		if err := r.copyIsBehind(ctx, rec); err != nil {
			return err
		}
		return killLive(old)
	}
	if err := r.trigger(ctx, rec, kill); err != nil || overlap {
		return err
	}
	return r.startCopy(ctx)
}

// copyIsBehind waits until the copy lacks an event, as it does for instants only
// where little is written.
func (r *runner) copyIsBehind(ctx context.Context, rec *FaultRecord) error {
	err := await(ctx, r.o.Patience, func(ctx context.Context) bool {
		n, err := r.behind(ctx)
		rec.Behind = max(rec.Behind, n)
		return err == nil && rec.Behind > 0
	})
	if err != nil {
		return fmt.Errorf("the copy lacks nothing: %w", err)
	}
	return nil
}

// killCopyAt kills the projection at a failpoint of its own.
func killCopyAt(point string) fault {
	return fault{name: "kill@" + point, expect: resumes, carryOut: func(r *runner, ctx context.Context, rec *FaultRecord) error {
		rec.Rule = r.killRule(point, 20)
		if err := r.copy.arm(rec.Rule); err != nil {
			return err
		}
		if err := r.killsItself(ctx, rec, r.copy); err != nil {
			return err
		}
		return r.startCopy(ctx)
	}}
}

// sickKey is an aggregate that the projection's handler refuses, while the table
// sick holds it.
type sickKey struct{ topic, key string }

// poisonCopy makes the handler refuse an aggregate until some of its events are
// parked, also by a projection that is killed meanwhile; cures it, has the parked
// events tried again, and kills the projection amid that. Live events go on.
func (r *runner) poisonCopy(ctx context.Context, rec *FaultRecord) error {
	db, err := pgx.Connect(ctx, r.target)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	var sick sickKey
	// One that is written to often, so that events come behind it.
	pick := func(ctx context.Context) bool {
		err = db.QueryRow(ctx, `select topic, key from (select topic, key from folds.fold order by applied desc limit 12) busy
			order by md5(key || $1) limit 1`, fmt.Sprint(r.history.Run.Seed, len(r.history.Faults))).Scan(&sick.topic, &sick.key)
		return err == nil
	}
	if waited := await(ctx, r.o.Patience, pick); waited != nil {
		return fmt.Errorf("no aggregate to be poisoned: %w", errors.Join(waited, err))
	}
	rec.Note = sick.topic + " " + sick.key
	if err := r.trigger(ctx, rec, func() error {
		_, err := db.Exec(ctx, "insert into sick values ($1, $2)", sick.topic, sick.key)
		return err
	}); err != nil {
		return err
	}
	parked := func(ctx context.Context) int {
		n, err := consumers.CountParked(ctx, db, projectionName, consumers.ParkedFilter{})
		if err != nil {
			return -1
		}
		return n
	}
	few := func(n int) error {
		return await(ctx, r.o.Patience, func(ctx context.Context) bool { return parked(ctx) >= n })
	}
	if err := few(2); err != nil {
		return fmt.Errorf("no event is parked: %w", err)
	}
	before := parked(ctx)
	rec.Behind = int64(before) // the sick events themselves, when it is killed
	if err := killLive(r.copy); err != nil {
		return err
	}
	if err := r.startCopy(ctx); err != nil {
		return err
	}
	if err := few(before + 2); err != nil {
		return fmt.Errorf("no event is parked after a restart: %w", err)
	}
	rec.Then = "consumers.redriven:1:kill" // there may be no second transaction of it
	if err := r.copy.arm(rec.Then); err != nil {
		return err
	}
	if _, err := db.Exec(ctx, "delete from sick"); err != nil {
		return err
	}
	if _, err := consumers.RetryParked(ctx, db, projectionName, consumers.ParkedFilter{}); err != nil {
		return err
	}
	if _, err := r.copy.awaitRule(ctx, rec.Then, r.o.Patience); err != nil {
		return err
	}
	if err := r.copy.gone(ctx, r.o.Patience); err != nil {
		return err
	}
	if err := r.startCopy(ctx); err != nil {
		return err
	}
	if err := await(ctx, r.o.Patience, func(ctx context.Context) bool { return parked(ctx) == 0 }); err != nil {
		return fmt.Errorf("%d events stay parked: %w", parked(ctx), err)
	}
	return nil
}

// rebuildCopy builds the projection's next version beside the live one, which ends
// before, is killed meanwhile or goes on, in turn; kills the new one in between, and
// kills or stops it amid the swap, or not; and waits until it has taken the live one's
// place.
func (r *runner) rebuildCopy(ctx context.Context, rec *FaultRecord) error {
	db, err := pgx.Connect(ctx, r.target)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	if _, err := consumers.DropOldCopy(ctx, db, projectionName); err != nil {
		return err
	}
	next := r.version + 1
	rec.Rule = r.killRule("consumers.applied", 30)
	builder, err := r.spawnCopy(ctx, next, rec.Rule)
	if err != nil {
		return err
	}
	defer func() {
		if builder != nil && builder != r.copy {
			builder.Kill()
		}
	}()
	if err := r.killsItself(ctx, rec, builder); err != nil {
		return err
	}
	amid := []string{"", "consumers.swap:1:kill", "consumers.swap:1:stop"}[r.rand.IntN(3)]
	if builder, err = r.spawnCopy(ctx, next, amid); err != nil {
		return err
	}
	live := r.copy
	switch r.count(rec.Fault) % 3 {
	case 0:
		rec.Note = "the live one is gone,"
		if err := killLive(live); err != nil {
			return err
		}
	case 1:
		rec.Note = "the live one was killed too,"
		if err := killLive(live); err != nil {
			return err
		}
		if err := r.startCopy(ctx); err != nil {
			return err
		}
		live = r.copy
	default:
		if !live.Alive() {
			return fmt.Errorf("%s ended by itself: %w", live.name, live.Err())
		}
	}
	began := time.Now()
	if amid != "" {
		frozen := builder
		if _, err := frozen.awaitRule(ctx, amid, 3*r.o.Patience); err != nil {
			return err
		}
		defer frozen.Kill() // it is gone, or stopped
		rec.Then = amid
		if builder, err = r.spawnCopy(ctx, next, ""); err != nil {
			return err
		}
	}
	if err := await(ctx, 3*r.o.Patience, func(ctx context.Context) bool { return liveVersion(ctx, db) == next }); err != nil {
		return fmt.Errorf("version %d does not take the live one's place: %w", next, err)
	}
	r.copy, r.version = builder, next
	rec.Note = strings.TrimSpace(rec.Note + fmt.Sprintf(" version %d within %d ms", next, time.Since(began).Milliseconds()))
	if err := live.gone(ctx, r.o.Patience); err != nil {
		live.Kill()
		return fmt.Errorf("the projection that was replaced goes on: %w", err)
	}
	return nil
}

// count returns how many faults of a kind there were before.
func (r *runner) count(fault string) (n int) {
	for _, f := range r.history.Faults {
		if f.Fault == fault {
			n++
		}
	}
	return n
}

// liveVersion returns the version of the copy that is read; 0 when that is unknown.
func liveVersion(ctx context.Context, db consumers.Querier) int {
	all, err := consumers.Copies(ctx, db, projectionName)
	if err != nil {
		return 0
	}
	for _, c := range all {
		if c.State == "live" {
			return c.Version
		}
	}
	return 0
}

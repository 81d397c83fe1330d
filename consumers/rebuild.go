package consumers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgfault"
	"github.com/runnel-cdc/runnel/internal/position"
)

// A version above the live one is built beside it.
//
// Invariant: a copy that is being built does not pass the live one. Its workers
// apply events up to the live copy's position in their partition, with CatchingUp
// set, and wait there. So when the two change places, which happens where they
// stand at the same positions, every event that both have a handler for was handled
// with CatchingUp false by one of them alone, and readers never see the copy go back.
// What the live copy has put aside counts as handled by it, so the swap waits while
// it is being tried again there.

const (
	followEvery   = 50 * time.Millisecond // how often the live copy's position is read by one that waits for it
	buildEvery    = time.Second           // how often it is checked whether the copies can change places
	freshEnough   = 5 * time.Second       // a topic that the live copy does not read is caught up with then
	progressEvery = 10 * time.Second      // in the log
	swapRest      = 10 * time.Second      // after an attempt at it that failed
	triedLately   = time.Minute           // an event that is due for longer, where nothing moves, is tried by nobody
	triedEnough   = 10 * time.Minute      // a release that fails for ever would never be replaced
)

// everything is a limit that no position exceeds.
var everything = position.Position{Epoch: math.MaxUint32, LSN: math.MaxUint64, Index: math.MaxUint32}

// errAhead says that an event is beyond the live copy's position.
var errAhead = errors.New("the live copy has not applied this event yet")

// is notes the state of the copy.
func (w *worker) is(state copyState) {
	if w.state == building && state == live {
		w.log.Info("this copy is the live one now")
		w.sweepAt = time.Time{} // the subscription of the one before is left
	}
	w.state = state
}

// follow waits for the live copy to go on, or to be replaced.
func (w *worker) follow(ctx context.Context) error {
	limit, err := w.p.liveLimit(ctx, w.partition)
	if err != nil {
		w.status.troubled(err, 0)
		return w.database.wait(ctx, err)
	}
	if w.limit.Less(limit) {
		w.limit = limit
		return nil
	}
	if err := w.completed(ctx, limit); err != nil {
		return err
	}
	return w.pause(ctx, followEvery)
}

// completed records that this copy holds what the partition has up to limit.
func (w *worker) completed(ctx context.Context, limit position.Position) error {
	if !w.completeTo.Less(limit) {
		return nil
	}
	err := pgx.BeginFunc(ctx, w.p.db, func(tx pgx.Tx) error {
		if err := w.p.insert(ctx, tx, w.partition); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `update runnel_projections.position set complete = greatest(complete, $5)
			where projection = $1 and version = $2 and topic = $3 and partition = $4`,
			w.p.cfg.Name, w.p.cfg.Version, w.partition.Topic, w.partition.Index, limit.String())
		return err
	})
	if err != nil {
		w.status.troubled(err, 0)
		return w.database.wait(ctx, err)
	}
	w.completeTo = limit
	return nil
}

// limitIfBuilding returns up to where the live copy is, before the topic is read
// to its end: where it holds no more, this copy is complete up to there.
func (w *worker) limitIfBuilding(ctx context.Context) (limit position.Position, err error) {
	if w.state != building {
		return limit, nil
	}
	if limit, err = w.p.liveLimit(ctx, w.partition); err != nil {
		return position.Position{}, w.database.wait(ctx, err)
	}
	return limit, nil
}

// caughtUp records that a topic which the live copy does not read was read to its
// end, or nearly.
func (w *worker) caughtUp(ctx context.Context, last *broker.Incoming) error {
	if w.state != building || w.limit != everything {
		return nil
	}
	w.limit = position.Position{} // looked up again: the live copy may read the topic by now
	if w.p.now().Sub(last.PublishTime) > freshEnough {
		return nil
	}
	return w.completed(ctx, everything)
}

// liveLimit returns the live copy's position in a partition: zero when it has had
// no event of it yet, everything when it does not read the topic.
func (p *Projection) liveLimit(ctx context.Context, of broker.Partition) (limit position.Position, err error) {
	var text *string
	var reads bool
	err = p.db.QueryRow(ctx, `select (select position from runnel_projections.position
			where projection = l.name and version = l.version and topic = $2 and partition = $3),
		exists (select from runnel_projections.topic where projection = l.name and version = l.version and topic = $2)
			or not exists (select from runnel_projections.waiting where projection = l.name and version = l.version)
		from runnel_projections.projection l where name = $1 and state = 'live'`,
		p.cfg.Name, of.Topic, of.Index).Scan(&text, &reads)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return everything, nil
	case err != nil:
		return limit, err
	}
	return limitOf(text, reads)
}

func limitOf(text *string, reads bool) (position.Position, error) {
	switch {
	case text != nil:
		return position.Parse(*text)
	case reads:
		return position.Position{}, nil
	}
	return everything, nil
}

// build watches over the building of this version, and lets it take the live
// one's place, until this or another instance has done so.
func (p *Projection) build(ctx context.Context, client broker.Client, topics []string) error {
	var all []broker.Partition
	for _, topic := range topics {
		count, err := waitPartitions(ctx, client, topic, p.log, p.sleep)
		if err != nil {
			return err
		}
		for i := range count {
			all = append(all, broker.Partition{Topic: topic, Index: i})
		}
	}
	p.log.Info("building a new copy beside the live one", keyVersion, p.cfg.Version)
	b := builder{p: p, all: all, outage: outage{what: "watching over the rebuild", log: p.log, sleep: p.sleep}, began: p.now(), told: p.now()}
	for {
		done, err := b.step(ctx)
		switch {
		case done:
			return nil
		case errors.Is(err, ErrTables) || errors.Is(err, ErrSchemaTaken) || ctx.Err() != nil:
			return err
		case err != nil:
			if pgfault.State(err) == stateNoRight {
				return ErrDatabaseRights.Wrap(err, "version %d of projection %s can't take the live one's place", p.cfg.Version, p.cfg.Name).
					Fix("As the database's owner: grant create on database NAME to ROLE; and let ROLE own the schemas %s and %s.",
						p.schema(live), p.schema(building))
			}
			if err := b.outage.wait(ctx, err); err != nil {
				return err
			}
			continue
		}
		b.outage.over()
		if err := p.sleep(ctx, buildEvery); err != nil {
			return err
		}
	}
}

// builder is what build remembers.
type builder struct {
	p      *Projection
	all    []broker.Partition
	outage outage
	began  time.Time
	first  uint64 // events applied when it began
	begun  bool
	told   time.Time
	rest   time.Time // no swap is tried before
	held   time.Time // since when the live copy's tries alone are waited for; zero: they are not
}

// step reports whether this version is the live one, after it tried to make it so.
func (b *builder) step(ctx context.Context) (done bool, err error) {
	held, err := readVersions(ctx, b.p.db, b.p.cfg.Name)
	switch {
	case err != nil:
		return false, err
	case held[live] == b.p.cfg.Version:
		return true, nil
	case held[building] != b.p.cfg.Version:
		return false, b.p.removed()
	}
	state, err := b.p.compare(ctx, b.p.db, b.all)
	if err != nil {
		return false, err
	}
	if !b.begun {
		b.begun, b.first = true, state.applied
	}
	enough := b.waitedEnough(state)
	if state.near() && !state.held(enough) && !b.p.now().Before(b.rest) {
		if done, err = b.p.swap(ctx, b.all, enough); done || err != nil {
			return done, err
		}
		b.rest = b.p.now().Add(swapRest)
		b.p.log.Info("the new copy could not take the live one's place yet, trying again", keyVersion, b.p.cfg.Version, keyPause, swapRest)
	}
	if now := b.p.now(); now.Sub(b.told) >= progressEvery {
		b.told = now
		b.tell(state)
	}
	return false, nil
}

// waitedEnough reports whether what the live copy tries again was waited for long
// enough.
func (b *builder) waitedEnough(state comparison) bool {
	switch {
	case !state.near() || state.tried == 0:
		b.held = time.Time{}
	case b.held.IsZero():
		b.held = b.p.now()
	}
	return !b.held.IsZero() && b.p.now().Sub(b.held) >= triedEnough
}

// tell logs how far the copy is.
func (b *builder) tell(state comparison) {
	rate := float64(state.applied-min(b.first, state.applied)) / max(b.p.now().Sub(b.began).Seconds(), 1)
	attrs := []any{keyVersion, b.p.cfg.Version, keyCount, state.applied, "of", state.of, "per_second", int(rate)}
	if rate > 0 && state.left > 0 {
		attrs = append(attrs, "left", time.Duration(float64(state.left)/rate*float64(time.Second)).Round(time.Second))
	}
	if state.behind > 0 {
		attrs = append(attrs, "partitions_behind", state.behind)
	}
	if state.tried > 0 {
		b.p.log.Warn("the new copy waits to take the live one's place until that one has applied, or parked, the events it tries again",
			append(attrs, "tried", state.tried)...)
		return
	}
	if state.parked > 0 {
		b.p.log.Warn("the new copy waits with parked events to take the live one's place", append(attrs, "parked", state.parked)...)
		return
	}
	b.p.log.Info("rebuilding", attrs...)
}

// comparison is how the copy that is being built stands to the live one.
type comparison struct {
	applied, of uint64 // events passed by it, and by the live one
	left        uint64 // events that it lacks, where the live one reads
	behind      int    // partitions in which it has not what the live one has
	alone       int    // of these, those that the live one does not read
	parked      int64
	tried       int64 // events that the live one has put aside and tries again
}

// held reports whether events that were put aside keep the copies from changing
// places: those of the live one not if enough was waited for them.
func (c comparison) held(enough bool) bool { return c.parked > 0 || c.tried > 0 && !enough }

// near reports whether little is left to do, so that the live copy may be stopped
// for an instant.
func (c comparison) near() bool { return c.alone == 0 && c.left <= 10_000 }

// compare reads how this version, which is being built, stands to the live one.
func (p *Projection) compare(ctx context.Context, db Querier, all []broker.Partition) (c comparison, err error) {
	topics, indexes := make([]string, len(all)), make([]int, len(all))
	for i, of := range all {
		topics[i], indexes[i] = of.Topic, of.Index
	}
	rows, err := db.Query(ctx, `with live as (select version from runnel_projections.projection where name = $1 and state = 'live')
		select coalesce(mine.position, $5), coalesce(mine.complete, ''), coalesce(mine.ordinal, 0), coalesce(mine.parked, 0),
			its.position, coalesce(its.ordinal, 0),
			exists (select from runnel_projections.topic r, live where r.projection = $1 and r.version = live.version and r.topic = t.topic)
				or exists (select from live where not exists (select from runnel_projections.waiting w where w.projection = $1 and w.version = live.version))
		from unnest($3::text[], $4::int[]) t (topic, partition)
		left join runnel_projections.position mine on mine.projection = $1 and mine.version = $2
			and mine.topic = t.topic and mine.partition = t.partition
		left join runnel_projections.position its on its.projection = $1 and its.version = (select version from live)
			and its.topic = t.topic and its.partition = t.partition`,
		p.cfg.Name, p.cfg.Version, topics, indexes, Position{}.String())
	if err != nil {
		return c, fmt.Errorf("comparing the copies: %w", err)
	}
	var mine, complete string
	var applied, of, parked int64
	var its *string
	var reads bool
	_, err = pgx.ForEachRow(rows, []any{&mine, &complete, &applied, &parked, &its, &of, &reads}, func() error {
		limit, err := limitOf(its, reads)
		if err != nil {
			return err
		}
		if limit != everything && complete == everything.String() {
			complete = "" // the live copy has come to read the topic since
		}
		// The text form sorts as positions do.
		if slices.Max([]string{mine, complete}) < limit.String() {
			c.behind++
			if limit == everything {
				c.alone++
			}
		}
		c.applied += uint64(applied)
		if limit != everything {
			c.of += uint64(of)
			c.left += uint64(max(of-applied, 0))
		}
		c.parked += parked
		return nil
	})
	if err == nil {
		c.tried, err = p.tried(ctx, db, topics)
	}
	return c, err
}

// tried counts the events of topics that the live copy has put aside and tries again,
// if an instance of it runs: it may have many that are due, and none but the
// position's row shows that it works on them.
func (p *Projection) tried(ctx context.Context, db Querier, topics []string) (n int64, err error) {
	rows, _ := db.Query(ctx, `select count(*) from runnel_projections.parked k join runnel_projections.position o using (projection, version, topic, partition)
		where projection = $1 and o.state = 'live' and topic = any ($2) and k.state = 'retrying' and greatest(k.next_try, o.updated_at) > $3`,
		p.cfg.Name, topics, p.now().Add(-triedLately))
	return pgx.CollectExactlyOneRow(rows, pgx.RowTo[int64])
}

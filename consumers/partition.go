package consumers

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/position"
)

// worker applies one partition. It has one goroutine, which owns all fields.
type worker struct {
	p         *Projection
	client    broker.Client
	codec     *codec
	partition broker.Partition
	foreign   foreigners
	log       *slog.Logger
	status    *status
	database  outage
	registry  outage
	unhandled map[string]bool // types without a handler that are noted; bounded
	parked    int64           // events put aside, as the database said last
	look      time.Time       // when to look for parked events that are due
	fullSince time.Time       // when the log was last told that no more can be parked

	state copyState // of the copy, as the database said last
	// While building: up to where the live copy is, or was, and up to where this one
	// is known to be complete.
	limit, completeTo position.Position

	// The history of the database that historyFrom, a producer, publishes from, as far as
	// the epoch historyTo; and the epochs of which it is noted that events were lost.
	history     position.History
	historyFrom string
	historyTo   uint32
	lostNoted   map[uint32]bool

	accepted position.Stamp // of an event behind a gap that is not one's to mind
	pruneAt  time.Time      // when to delete the ids of events passed long ago; zero: never
	sweepAt  time.Time      // when to look for subscriptions that earlier copies left
	sweepErr error          // of the last look
}

// conflictLimit is how often a transaction that lost against another is done
// again before its event counts as failing.
const conflictLimit = 10

func (p *Projection) worker(client broker.Client, codec *codec, of broker.Partition) *worker {
	log := p.log.With(keyTopic, of.Topic, keyPartition, of.Index)
	w := &worker{
		p: p, client: client, codec: codec, partition: of, log: log,
		foreign:  newForeigners(codec, p.foreign, log),
		status:   newStatus(of),
		database: outage{what: "applying to the database", log: log, sleep: p.sleep},
		registry: outage{what: "fetching a schema", log: log, sleep: p.sleep},
		look:     p.now(),
		state:    p.state,
		pruneAt:  p.now(),

		unhandled: make(map[string]bool),
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.statuses = append(p.statuses, w.status)
	return w
}

func (w *worker) run(ctx context.Context) error {
	r := receiver{
		client: w.client, partition: w.partition, subscription: w.p.cfg.subscription(),
		maxCount: w.p.cfg.BatchSize, maxBytes: w.p.cfg.BatchBytes,
		log: w.log, sleep: w.p.sleep, connected: w.status.connected,
		process: w.process, silent: w.silent, silence: w.p.silence,
		redrive: w.redrive, redriveIn: w.redriveIn,
	}
	if w.p.waiting != nil {
		r.waiting = func(d time.Duration) { w.p.waiting(w.partition, d) }
	}
	err := r.run(ctx)
	if f := fault.Find(err); f != nil && ctx.Err() == nil {
		w.status.stopped(err)
		w.log.Error("projection stops", explain(err)...)
		w.p.cfg.Observer.stopped(w.partition.Topic, w.partition.Index, err)
	}
	return err
}

// process applies a batch as it was received.
func (w *worker) process(ctx context.Context, batch []*broker.Incoming, link *link) error {
	defer w.tidy(ctx)
	// A foreign message at the end is acknowledged when the topic was read up to there
	// (silent), or with the next event: it has no ordinal, so nothing says here that the
	// subscription left out no event before it.
	own, _ := w.foreign.without(batch)
	if len(own) == 0 {
		return nil
	}
	err := w.processOwn(ctx, own, link)
	if errors.Is(err, errHandedOver) {
		return nil // who took over gets the rest of the batch
	}
	return err
}

// processOwn is process for what is to be applied.
func (w *worker) processOwn(ctx context.Context, batch []*broker.Incoming, link *link) error {
	for tried := false; ; tried = true {
		done, err := w.applyBatch(ctx, batch, link)
		if err == nil {
			return w.caughtUp(ctx, batch[len(batch)-1])
		}
		if !errors.Is(err, ErrGap) || tried && done == 0 { // the topic, read to its end, did not close it
			return err
		}
		batch = batch[done:]
		if err := w.jumped(ctx, link, err); err != nil {
			return err
		}
	}
}

// applyBatch applies a part of the partition, and returns how much of it.
func (w *worker) applyBatch(ctx context.Context, batch []*broker.Incoming, link *link) (done int, err error) {
	entries := make([]entry, 0, len(batch))
	var foreign error
	for _, in := range batch {
		e := entry{id: in.ID}
		if e.Message, e.stamp, foreign = w.codec.read(in); foreign != nil {
			foreign = w.foreign.remedy(foreign, batch[len(entries):])
			break // after what came before it
		}
		if e.history, err = w.historyOf(ctx, in, e.stamp.Epoch); err != nil {
			return 0, err
		}
		e.lost = !e.history.Holds(e.Position)
		if err := w.complete(ctx, &e); err != nil {
			return 0, err
		}
		entries = append(entries, e)
	}
	for done < len(entries) {
		n, err := w.apply(ctx, entries[done:])
		if n > 0 {
			done += n
			link.ack(batch[done-1].ID)
		}
		if err != nil {
			return done, err
		}
	}
	return done, foreign
}

// tidy does what is due beside the work.
func (w *worker) tidy(ctx context.Context) {
	w.prune(ctx)
	w.sweep(ctx)
}

// complete finds an entry's handler, and the schema that it was written with.
func (w *worker) complete(ctx context.Context, e *entry) error {
	if !w.handled(e) {
		return nil
	}
	return w.fetchSchema(ctx, &e.Message)
}

// completeOnce is complete that does not wait for the registry.
func (w *worker) completeOnce(ctx context.Context, e *entry) error {
	if !w.handled(e) {
		return nil
	}
	return w.codec.prepare(ctx, &e.Message)
}

// handled finds an entry's handler.
func (w *worker) handled(e *entry) bool {
	if e.handler = w.p.handlers[e.Type]; e.handler != nil {
		e.AggregateType = e.handler.event.AggregateType
	}
	return e.handler != nil || w.p.batch != nil
}

// fetchSchema waits while the registry is down; no transaction is open.
func (w *worker) fetchSchema(ctx context.Context, m *Message) error {
	for {
		err := w.codec.prepare(ctx, m)
		if err == nil {
			w.registry.over()
			return nil
		}
		w.status.troubled(err, 0)
		if err := w.registry.wait(ctx, err); err != nil {
			return err
		}
	}
}

// apply makes entries durable, in as few transactions as it can, and returns
// how many are. A batch that fails is taken apart, so that the event at fault
// waits alone, behind all before it.
func (w *worker) apply(ctx context.Context, entries []entry) (done int, err error) {
	if len(entries) == 1 {
		return w.applyOne(ctx, entries, nil)
	}
	fates, err := w.settleEntries(ctx, entries, nil)
	t, ok := errors.AsType[*trouble](err)
	if !ok || t.class != failed {
		return len(fates), err
	}
	for i := range entries {
		var tried error // its first try was in the batch
		if t.entry == i+1 {
			tried = t
		}
		n, err := w.applyOne(ctx, entries[i:i+1], tried)
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// applyOne applies a single entry. When it fails for longer than an instant, it is
// put aside, so that only its key waits: unless everything fails. tried is how its
// first try failed already, or nil.
func (w *worker) applyOne(ctx context.Context, one []entry, tried error) (done int, err error) {
	m := one[0].Message
	var quiet time.Duration // since the last line in the log
	for tries := 1; ; tries++ {
		var fates []fate
		err := tried
		if tried = nil; err == nil {
			fates, err = w.settleEntries(ctx, one, nil)
		}
		if t, ok := errors.AsType[*trouble](err); !ok || t.class != failed {
			return len(fates), err
		}
		cause := errors.Unwrap(err)
		if d, ok := errors.AsType[*discarded](cause); ok {
			return w.decide(ctx, one, &decision{fate: wasDiscarded}, d.err)
		}
		pause, again := w.p.cfg.Retry.next(tries, cause)
		if again && pause == 0 {
			w.p.cfg.Observer.failed(m, tries, 0, cause)
			continue
		}
		if !w.p.breaker.opens() {
			aside := parkedEvent{state: stateParked, tries: counted(tries-1, cause), cause: cause}
			if again {
				aside.state, aside.nextTry = stateRetrying, w.p.now().Add(pause)
				w.p.cfg.Observer.failed(m, tries, pause, cause)
			}
			return w.decide(ctx, one, &decision{fate: wasParked, parked: aside}, cause)
		}
		pause = w.p.cfg.Retry.pause(tries, cause)
		w.status.troubled(cause, tries)
		w.p.cfg.Observer.failed(m, tries, pause, cause)
		if quiet += pause; quiet >= outageLog || tries <= w.p.cfg.Retry.Immediate {
			quiet = 0
			w.log.Error("every event fails, so none is put aside and the partition waits", w.describe(m, cause, keyTries, tries, keyPause, pause)...)
		}
		if err := w.pause(ctx, pause); err != nil {
			return 0, err
		}
	}
}

// decide moves the position past an event that failed.
func (w *worker) decide(ctx context.Context, one []entry, d *decision, cause error) (int, error) {
	for {
		fates, err := w.settleEntries(ctx, one, d)
		if t, ok := errors.AsType[*trouble](err); ok && t.class == failed {
			// No handler was called, so none is at fault.
			w.status.troubled(t.err, 0)
			if err := w.database.wait(ctx, t.err); err != nil {
				return 0, err
			}
			continue
		}
		if err != nil {
			return 0, err
		}
		m := one[0].Message
		switch fates[0] { // another instance may have been faster
		case wasParked:
			w.tellParked(m, d.parked)
		case wasDiscarded:
			w.p.cfg.Observer.discarded(m, cause)
			w.log.Warn("event discarded", w.describe(m, cause)...)
		}
		return len(fates), nil
	}
}

// tellParked reports an event that failed and was put aside.
func (w *worker) tellParked(m Message, r parkedEvent) {
	if r.state == stateRetrying {
		w.wakeAt(r.nextTry)
		w.log.Warn("event failed, its key waits", w.describe(m, r.cause, keyTries, r.tries, keyNextTry, r.nextTry)...)
		return
	}
	w.p.cfg.Observer.parked(m, r.cause)
	w.log.Error("event parked, its key waits for a person", w.describe(m, r.cause, keyTries, r.tries)...)
}

// settleEntries is transact through everything that is not an entry's fault.
func (w *worker) settleEntries(ctx context.Context, entries []entry, d *decision) (fates []fate, err error) {
	err = w.settle(ctx, func(ctx context.Context) (err error) {
		fates, err = w.transact(ctx, entries, d)
		return err
	})
	if err != nil {
		return nil, err
	}
	w.report(entries, fates)
	return fates, nil
}

// settle runs a transaction until its outcome is known, through outages of the
// database and lost races.
func (w *worker) settle(ctx context.Context, transact func(context.Context) error) error {
	for conflicts := 0; ; {
		err := transact(ctx)
		if err == nil {
			w.database.over()
			return nil
		}
		t, ok := errors.AsType[*trouble](err)
		switch {
		case !ok:
			return err
		case t.class == stopping:
			return ctx.Err()
		case t.class == failed:
			w.database.over() // it answered
			return err
		case t.class == conflict && conflicts >= conflictLimit:
			return &trouble{class: failed, err: t.err}
		case t.class == conflict:
			conflicts++
			if err := w.p.sleep(ctx, time.Duration(conflicts)*10*time.Millisecond); err != nil {
				return err
			}
			continue
		}
		if t.class == ahead {
			if err := w.follow(ctx); err != nil {
				return err
			}
			continue
		}
		w.status.troubled(t.err, 0)
		if t.class == full {
			if err := w.waitFull(ctx, t.err); err != nil {
				return err
			}
			continue
		}
		if err := w.database.wait(ctx, t.err); err != nil {
			return err
		}
	}
}

// report tells the observer what became of committed entries.
func (w *worker) report(entries []entry, fates []fate) {
	o, now := w.p.cfg.Observer, w.p.now()
	for i, f := range fates {
		m := entries[i].Message
		switch f {
		case wasApplied:
			w.p.breaker.passed()
			o.applied(m, now)
		case wasSkipped:
			o.skipped(m)
		case wasBehind:
			o.behind(m)
		case wasUnknown:
			o.unknownType(m)
		}
	}
}

// describe returns log attributes of an event and its error.
func (w *worker) describe(m Message, err error, more ...any) []any {
	attrs := []any{keyEventID, m.ID, keyEventType, m.Type, keyPosition, m.Position.String()}
	return append(append(attrs, more...), explain(err)...)
}

// explain returns log attributes of an error.
func explain(err error) []any {
	attrs := []any{keyError, err}
	if f := fault.Find(err); f != nil {
		attrs = append(attrs, keyCode, f.Code.ID, keyRemedy, f.WhatToDo())
	}
	if p, ok := errors.AsType[*panicked](err); ok {
		attrs = append(attrs, keyStack, string(p.stack))
	}
	return attrs
}

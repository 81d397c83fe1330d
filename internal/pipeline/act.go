package pipeline

import (
	"context"
	"strings"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/sqltext"
	"github.com/runnel-cdc/runnel/router"
	"github.com/runnel-cdc/runnel/schemas"
)

// act does what the state asks for.
func (l *loop) act(ctx, hard context.Context) {
	for _, id := range l.state.Ready().Acquire {
		l.acquire(ctx, l.lanes[id])
	}
	l.state.Ready().Acquire = l.state.Ready().Acquire[:0]
	l.send(hard)
	l.tell()
}

// send hands out the messages. Its context must not end with the run's: a send
// that is cut off may or may not have happened.
func (l *loop) send(hard context.Context) {
	ready := l.state.Ready()
	if len(ready.Send) == 0 {
		return
	}
	now := time.Now()
	l.unacked += len(ready.Send)
	for i := range ready.Send {
		l.lanes[ready.Send[i].Lane].toSend++
	}
	for i := range ready.Send {
		m := &ready.Send[i]
		ln := l.lanes[m.Lane]
		ln.toSend--
		if ln.unacked == 0 {
			ln.since = now
		}
		ln.unacked++
		l.handed++
		l.sending.Store(l.handed)
		out := l.outgoing.of(m, l.schema(m.Schema))
		out.More = ln.toSend > 0
		ln.send(hard, out)
	}
	l.sending.Store(0)
	ready.Sent()
}

// takeAcks tells the state what was acknowledged since the last time.
func (l *loop) takeAcks() error {
	var failed error
	l.dirty, failed = l.mail.take(l.dirty)
	now := time.Now()
	for _, ln := range l.dirty {
		n := int(ln.acks.Swap(0))
		ln.unacked -= n
		ln.since = now
		l.unacked -= n
		l.report.acked(&l.topics[ln.topic], n)
		// Every lane is told, also after an error: they would not ring again.
		if err := l.state.Acked(ln.id, n); failed == nil {
			failed = err
		}
	}
	return failed
}

// acquire becomes the producer of a lane, in the background.
func (l *loop) acquire(ctx context.Context, ln *lane) {
	l.group.Go(func() error {
		select {
		case l.slots <- struct{}{}:
			defer func() { <-l.slots }()
		case <-ctx.Done():
			return nil
		}
		t := &l.topics[ln.topic]
		if err := t.ready(ctx); err != nil {
			if ctx.Err() == nil {
				l.mail.fail(err)
			}
			return nil
		}
		producer, tail, err := l.client.Acquire(ctx, broker.AcquireRequest{
			Partition: ln.partition, Producer: l.name,
			Schema: t.newest, Replayed: l.start, History: l.history,
			Foreign: l.foreign, Resumed: l.saved[ln.partition].Resumed,
		}, func(holder string) { l.report.waiting(ln.partition.String(), holder) })
		if err == nil {
			err = l.usable(ctx, ln.partition, tail.Stamp)
			if err == nil && ctx.Err() == nil {
				l.acquired <- acquisition{ln, producer, tail} // has room for every lane
				return nil
			}
			producer.Close() // nothing may be sent
		}
		if ctx.Err() == nil {
			l.mail.fail(err)
		}
		return nil
	})
}

// usable requires of a partition that is ours what must be so before anything is sent.
func (l *loop) usable(ctx context.Context, p broker.Partition, last position.Stamp) error {
	if err := l.inHistory(ctx, p, last); err != nil || l.check == nil {
		return err
	}
	return l.check(ctx)
}

// inHistory requires that a partition's last message lies within the server's
// WAL. The end that was read when the run began may be too low: another daemon
// may have published until the slot became ours.
func (l *loop) inHistory(ctx context.Context, p broker.Partition, last position.Stamp) error {
	if last.Epoch != max(l.history.Newest(), l.start.Epoch) || last.LSN <= l.walEnd.Load() {
		return nil
	}
	end, err := l.readWALEnd(ctx)
	if err != nil {
		return err
	}
	l.walEnd.Store(end)
	if last.LSN > end {
		return ErrHistory.New("its last message is at %s, the server's WAL ends at %s", last.Position, formatLSN(end)).At("%s", p)
	}
	return nil
}

// take tells the state what an acquired partition holds.
func (l *loop) take(hard context.Context, a acquisition) error {
	ln := a.lane
	ln.producer = a.producer
	l.used[ln.topic].Store(true)
	l.report.acquired(ln.partition.String())
	l.watch(hard, a.producer, ln.partition)
	found, err := l.heldBy(ln, a.tail)
	if err != nil {
		return err
	}
	return l.state.Acquired(found)
}

// watch ends the run when a producer loses its partition.
func (l *loop) watch(hard context.Context, producer broker.Producer, p broker.Partition) {
	l.group.Go(func() error {
		select {
		case <-producer.Lost():
			l.mail.fail(ErrLaneLost.Wrap(producer.Err(), "the right to publish is gone").At("%s", p))
		case <-hard.Done():
		}
		return nil
	})
}

// heldBy compares what a partition holds last with what was saved of it. One that
// retention has emptied goes on from what was saved; one that has lost its end, or that
// should keep everything and is empty, was deleted or made anew, and goes on from there
// only when somebody says so. What was saved is durable in no other place then: it can't be
// compared.
func (l *loop) heldBy(ln *lane, tail broker.Tail) (router.Acquired, error) {
	l.resize(resize{ln.topic, tail.MaxMessageSize}) // the topic's other partitions learn it too
	a := router.Acquired{Lane: ln.id, Tail: tail.Stamp, ReadBack: tail.ReadBack, MaxBytes: tail.MaxMessageSize, Lost: tail.Lost}
	trims := l.trims && l.topics[ln.topic].codec != nil // the dead-letter topic keeps everything
	if first := tail.First; trims && first.Ordinal > 1 && a.Lost.Less(first.Position) && l.start.Less(first.Position) {
		a.Lost = first.Position // retention has taken what was before it
	}
	p, found := ln.partition, tail.Stamp
	saved, known := l.saved[p]
	switch last := saved.Last; {
	case !known || !found.Less(last.Position) && found.Ordinal >= last.Ordinal:
		return a, nil
	case found.Ordinal == 0 && trims, saved.Resumed == last.Ordinal:
		ln.emptied = true
		a.Tail, a.ReadBack, a.Lost = last, position.Digest{}, last.Position
		a.Lost.Index++
		return a, nil
	default:
		return a, truncated(l.pipeline, p, found, last)
	}
}

// truncated is the error for a partition that lacks what was saved of it.
func truncated(pipeline string, p broker.Partition, found, saved position.Stamp) error {
	return ErrTruncated.New("its last message is %s, and %s was there before", describe(found), saved).At("%s", p).
		Fix("%s\n  SELECT runnel.accept_lost(%s, %s);",
			strings.SplitN(ErrTruncated.Remedy, "\n", 2)[0], sqltext.Literal(pipeline), sqltext.Literal(p.Topic))
}

func describe(s position.Stamp) string {
	if s.Ordinal == 0 {
		return "missing"
	}
	return s.String()
}

// resize takes a topic's new limit.
func (l *loop) resize(r resize) {
	if l.topics[r.topic].maxBytes == r.maxBytes {
		return
	}
	l.topics[r.topic].maxBytes = r.maxBytes
	for _, ln := range l.lanes {
		if ln.topic == r.topic {
			l.state.Resize(ln.id, r.maxBytes)
			if ln.producer != nil {
				ln.producer.Resize(r.maxBytes)
			}
		}
	}
}

// schema returns the broker's form of a topic schema; nil for a message without one.
func (l *loop) schema(t *schemas.TopicSchema) *broker.Schema {
	if t == nil {
		return nil
	}
	s := l.schemas[t]
	if s == nil {
		s = brokerSchema(t)
		l.schemas[t] = s
	}
	return s
}

func brokerSchema(t *schemas.TopicSchema) *broker.Schema {
	return &broker.Schema{Name: t.Name, JSON: t.JSON, Version: t.Version}
}

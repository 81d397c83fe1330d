// Package letterbox reads a pipeline's dead-letter topic: for the daemon, which must know
// what is parked before it decides anything, and for commands, which show it.
//
// What the messages mean is package deadletter's. Start with Read.
package letterbox

import (
	"context"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/deadletter"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/history"
	"github.com/runnel-cdc/runnel/internal/position"
)

// Broker is what Read needs of one; *broker.Pulsar is one.
type Broker = history.Broker

// Topic is a pipeline's dead-letter topic.
type Topic struct {
	Broker    Broker
	Partition broker.Partition
	Producer  string // of the pipeline
	// Stamp reads a message's position. One with the ordinal 0 is none of the pipeline's, and
	// passed over. Default: all are the pipeline's.
	Stamp func(*broker.Incoming) (position.Stamp, error)
}

// Contents is what a dead-letter topic holds.
type Contents struct {
	Log *deadletter.Log
	// Held are the positions at or above the start, with the releases among them.
	Held map[position.Position]*deadletter.Release
}

// Read reads what is parked, and everything at or above start. Messages that the history
// does not hold are left out: the database has lost what they were about. take, if any, is
// given every message that is read and held, in order; of those that are parked in the end
// none is missing.
//
// The last message says from where on it is enough to read (its floor): the topic may hold
// years of what was put right long ago. Only when something was lost, what that message
// had left behind may count again, and all is read.
//
// Errors: broker.ErrHole when messages are missing, and broker.ErrForeignMessage.
func Read(ctx context.Context, t Topic, start position.Position, h position.History, take func(position.Position, *broker.Incoming)) (Contents, error) {
	if t.Stamp == nil {
		t.Stamp = (*broker.Incoming).Stamp
	}
	// Without a last message of the pipeline's, all is read: there may be others behind it.
	floor := position.Position{}
	err := t.each(ctx, position.Beyond, func(_ position.Stamp, m *broker.Incoming) (err error) {
		floor, err = deadletter.Floor(m.Properties)
		return err
	})
	if err != nil {
		return Contents{}, err
	}
	for from := floor; ; from = (position.Position{}) {
		c, lost, err := t.readFrom(ctx, from, start, h, take)
		if err != nil || !lost || from.IsZero() {
			return c, err
		}
	}
}

// readFrom is Read from a position on. lost tells that the history lacks some of it; then
// the contents are right only if that position is the first of all.
func (t Topic) readFrom(ctx context.Context, floor, start position.Position, h position.History, take func(position.Position, *broker.Incoming)) (c Contents, lost bool, err error) {
	c = Contents{Log: new(deadletter.Log), Held: make(map[position.Position]*deadletter.Release)}
	from := floor
	if start.Less(from) {
		from = start
	}
	seen := floor.IsZero()
	var before position.Stamp
	err = t.each(ctx, from, func(at position.Stamp, m *broker.Incoming) error {
		if before.Ordinal > 0 && (at.Ordinal != before.Ordinal+1 || !before.Less(at.Position)) {
			return broker.ErrHole.New("message %s is at %s, the one before it at %s", m.ID, at, before).At("%s", t.Partition)
		}
		before, seen = at, seen || at.Position == floor
		if at.Less(from) {
			return nil
		}
		if !h.Holds(at.Position) {
			lost = true
			return nil
		}
		release, err := c.Log.Add(at.Position, m.Payload, m.Properties)
		if err != nil {
			return err
		}
		if !at.Less(start) {
			c.Held[at.Position] = release
		}
		if take != nil {
			take(at.Position, m)
		}
		return nil
	})
	if err == nil && !seen {
		err = broker.ErrHole.New("the event at %s is parked, and is not there any more", floor).At("%s", t.Partition).
			Fix("Look who deleted messages of the topic, or limited its retention: it must keep them for ever. The event is in the outbox as long as outbox.retention keeps it.")
	}
	return c, lost, err
}

// each calls take for each message from a position on, and maybe some below it.
func (t Topic) each(ctx context.Context, from position.Position, take func(position.Stamp, *broker.Incoming) error) error {
	reader, err := t.Broker.ReadSince(ctx, t.Partition, from, t.Producer)
	if err != nil {
		return err
	}
	return broker.ReadRest(ctx, reader, func(m *broker.Incoming) error {
		at, err := t.Stamp(m)
		if err == nil && at.Ordinal > 0 {
			err = take(at, m)
		}
		if err != nil && fault.Find(err) == nil {
			err = broker.ErrForeignMessage.Wrap(err, "sent by producer %q", m.Producer).At("%s", m.Name())
		}
		return err
	})
}

// History returns the history that a pipeline publishes under, as its history topic has it;
// the empty one when it has none. producer is the pipeline's.
func History(ctx context.Context, b Broker, p broker.Partition, producer string) (position.History, error) {
	last, err := history.ReadLast(ctx, b, p, producer)
	if err != nil || last == nil {
		return nil, err
	}
	return last.History()
}

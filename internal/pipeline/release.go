package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/deadletter"
	"github.com/runnel-cdc/runnel/internal/deadletter/letterbox"
	"github.com/runnel-cdc/runnel/internal/history"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/router"
)

// ParkedEvents returns what the pipeline of that name has parked in a namespace, in the
// order of positions. It needs the broker alone.
func ParkedEvents(ctx context.Context, client letterbox.Broker, namespace, pipeline string) ([]*deadletter.Letter, error) {
	p := broker.Partition{Topic: wire.TopicName(namespace, deadletter.Topic(pipeline))}
	h, err := letterbox.History(ctx, client, broker.Partition{Topic: wire.TopicName(namespace, history.Topic(pipeline))}, producerName(pipeline))
	if isTopicMissing(err) {
		return nil, nil // it never ran
	}
	if err != nil {
		return nil, err
	}
	var unread error
	all := make(map[position.Position]*deadletter.Letter)
	own := func(m *broker.Incoming) (position.Stamp, error) {
		if m.Producer != producerName(pipeline) {
			return position.Stamp{}, nil // it is for the daemon to speak of them
		}
		return m.Stamp()
	}
	c, err := letterbox.Read(ctx, letterbox.Topic{Broker: client, Partition: p, Producer: producerName(pipeline), Stamp: own}, position.Beyond, h, func(at position.Position, m *broker.Incoming) {
		if m.Properties[router.PropertyType] != deadletter.EventParked {
			return
		}
		letter, err := deadletter.ParseLetter(at, m.Payload, m.Properties)
		if err != nil && unread == nil {
			unread = broker.ErrForeignMessage.Wrap(err, "message %s, sent by producer %q", m.ID, m.Producer).At("%s", p)
		}
		all[at] = letter
	})
	if isTopicMissing(err) {
		return nil, nil
	}
	if err = errors.Join(err, unread); err != nil {
		return nil, err
	}
	var parked []*deadletter.Letter
	for _, e := range c.Log.All() {
		parked = append(parked, all[e.Position])
	}
	return parked, nil
}

// Release says which parked events are released, and how.
type Release struct {
	Namespace, Pipeline, Slot string
	Client                    letterbox.Broker
	DB                        *pgx.Conn // as a role that may execute runnel.release_parked
	// Discard removes the events that match. Otherwise everything that is parked of their
	// aggregates is written to the outbox again, in order.
	Discard bool
	Match   func(*deadletter.Letter) bool
	// Wait is how long it is waited for the daemon, each time. Default: 60 s.
	Wait time.Duration
	// Exclusive keeps all writers from the outbox until the daemon has come to where they
	// are and everything is written: an aggregate that never rests is caught up with.
	Exclusive bool
}

// Released is what came of a Release.
type Released struct {
	Events     int // released, by the control records that were written
	Aggregates int
	Again      []*deadletter.Letter // were retried, could not be published, and are parked again
	Left       int                  // events of these aggregates that are parked still, those of Again included
}

// The bounds of a release: of one control record with its rows, and of the rounds in which
// what is parked meanwhile, behind what is retried, is retried too.
const (
	releaseEvents = 500
	releaseBytes  = 8 << 20
	releaseRounds = 100
)

// Run writes the control records, and waits until the daemon has taken them. Events of an
// aggregate that come between the look at what is parked and the control record wait on,
// behind those that are retried; so there are rounds, until nothing of it is parked, or
// something is parked again.
func (r Release) Run(ctx context.Context) (Released, error) {
	def(&r.Wait, time.Minute)
	if have, latest, err := outbox.Versions(ctx, r.DB); err != nil {
		return Released{}, wire.QueryFault(err, "look for the outbox")
	} else if err := CheckOutboxVersion(have, latest); err != nil {
		return Released{}, err
	}
	s := releasing{Release: r, tried: make(map[position.Position]bool), ids: make(map[[16]byte]bool)}
	settled := false // what was written last was carried out to its end
	for round := 0; ; {
		todo, err := s.look(ctx)
		switch {
		case err != nil, round == 0 && len(todo) == 0, settled && (len(todo) == 0 || round >= releaseRounds):
			return s.out, err
		case len(todo) == 0 || round >= releaseRounds:
			settled, err = true, r.await(ctx, true)
		default:
			settled = false
			round++
			err = s.round(ctx, todo)
		}
		if err != nil {
			return s.out, r.fault(err)
		}
	}
}

// round releases letters, and waits until the daemon has the control records: what comes
// until the next look is less then, the sooner the better.
func (s *releasing) round(ctx context.Context, todo []*deadletter.Letter) error {
	if s.Exclusive {
		return pgx.BeginFunc(ctx, s.DB, func(tx pgx.Tx) error { return s.writeAlone(ctx, tx) })
	}
	for len(todo) > 0 {
		n, size := 0, 0
		for n < len(todo) && (n == 0 || size < releaseBytes) {
			size += len(todo[n].Payload)
			n++
		}
		err := pgx.BeginFunc(ctx, s.DB, func(tx pgx.Tx) error {
			return s.writeParts(todo[:n], func(part []*deadletter.Letter) error { return s.write(ctx, tx, part) })
		})
		if err != nil {
			return err
		}
		todo = todo[n:]
	}
	limited, cancel := context.WithTimeout(ctx, s.Wait)
	defer cancel()
	for s.taken = false; !s.taken; {
		if _, err := s.look(limited); err != nil {
			if ctx.Err() == nil && limited.Err() != nil {
				return s.pending(ctx)
			}
			return err
		}
		if !s.taken {
			select {
			case <-time.After(lookPause):
			case <-limited.Done():
			}
		}
	}
	return nil
}

// lookPause is between two looks at what is parked, or confirmed.
const lookPause = 100 * time.Millisecond

// releasing is a Release under way.
type releasing struct {
	Release
	keys  map[deadletter.Key]bool    // whose events are released; nil before the first look
	tried map[position.Position]bool // what was released
	ids   map[[16]byte]bool
	taken bool // when it was last looked, the daemon had all of that
	out   Released
}

// look reads what is parked, and returns what is to be released now.
func (s *releasing) look(ctx context.Context) ([]*deadletter.Letter, error) {
	parked, err := ParkedEvents(ctx, s.Client, s.Namespace, s.Pipeline)
	if err != nil {
		return nil, err
	}
	first := s.keys == nil
	if first {
		s.keys = make(map[deadletter.Key]bool)
		for _, l := range parked {
			if s.Match(l) {
				s.keys[l.Key] = true
			}
		}
		s.out.Aggregates = len(s.keys)
	}
	s.out.Left, s.out.Again, s.taken = 0, nil, true
	failed := make(map[deadletter.Key]bool)
	var todo []*deadletter.Letter
	for _, l := range parked {
		if !s.keys[l.Key] {
			continue
		}
		s.out.Left++
		if s.tried[l.Position] {
			s.taken = false
			continue
		}
		if s.ids[l.ID] {
			failed[l.Key], s.out.Again = true, append(s.out.Again, l)
		}
		if !s.Discard || s.Match(l) && len(s.tried) == 0 {
			todo = append(todo, l)
		}
	}
	todo = slices.DeleteFunc(todo, func(l *deadletter.Letter) bool { return failed[l.Key] })
	slices.SortFunc(todo, func(a, b *deadletter.Letter) int { return a.Rank.Compare(b.Rank) })
	return todo, nil
}

// writeAlone writes everything in one transaction that keeps all writers out: once the
// daemon has come to where it began, nothing is missing.
func (s *releasing) writeAlone(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, "select runnel.hold_writers()"); err != nil {
		return err
	}
	if err := s.await(ctx, false); err != nil {
		return err
	}
	todo, err := s.look(ctx)
	if err != nil {
		return err
	}
	return s.writeParts(todo, func(part []*deadletter.Letter) error { return s.write(ctx, tx, part) })
}

// writeParts writes letters, those of one control record at a time.
func (s *releasing) writeParts(todo []*deadletter.Letter, write func([]*deadletter.Letter) error) error {
	for _, part := range parts(todo) {
		if err := write(part); err != nil {
			return err
		}
		for _, l := range part {
			s.tried[l.Position], s.ids[l.ID] = true, true
		}
		s.out.Events += len(part)
	}
	return nil
}

// parts divides letters into those of one control record each: of one aggregate, in order.
func parts(all []*deadletter.Letter) [][]*deadletter.Letter {
	var out [][]*deadletter.Letter
	open := make(map[deadletter.Key]int) // index of the aggregate's last part
	size := make(map[deadletter.Key]int)
	for _, l := range all {
		i, ok := open[l.Key]
		if !ok || len(out[i]) == releaseEvents || size[l.Key]+len(l.Payload) > releaseBytes {
			i, size[l.Key] = len(out), 0
			out = append(out, nil)
			open[l.Key] = i
		}
		out[i] = append(out[i], l)
		size[l.Key] += len(l.Payload)
	}
	return out
}

// write writes a control record and, for a retry, the rows of its events.
func (r Release) write(ctx context.Context, tx pgx.Tx, part []*deadletter.Letter) error {
	var entries []deadletter.Entry
	var ids [][16]byte
	var types, headers []string
	var encodings []int16
	var fingerprints, payloads [][]byte
	var occurred []time.Time
	for _, l := range part {
		entries = append(entries, l.Entry)
		if r.Discard {
			continue
		}
		ids, types, encodings = append(ids, l.ID), append(types, l.EventType), append(encodings, int16(l.Encoding))
		fingerprint := []byte{}
		if router.Encoding(l.Encoding) == router.Avro {
			fingerprint = l.Fingerprint[:]
		}
		fingerprints, payloads, headers = append(fingerprints, fingerprint), append(payloads, l.Payload), append(headers, string(l.Headers))
		occurred = append(occurred, time.UnixMicro(l.OccurredAt))
	}
	record, err := json.Marshal(deadletter.NewRecord(part[0].Key, r.Discard, entries))
	if err != nil {
		return err
	}
	// await goes by what is flushed.
	if _, err := tx.Exec(ctx, "set local synchronous_commit = on"); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "select runnel.release_parked($1, $2, $3, $4, $5, $6, $7, $8, $9)",
		r.Pipeline, record, ids, types, encodings, fingerprints, payloads, headers, occurred)
	return err
}

// fault says what an error of the database's means here.
func (r Release) fault(err error) error {
	pg := (*pgconn.PgError)(nil)
	switch {
	case !errors.As(err, &pg):
	case pg.Code == "42501":
		return ErrReleaseRight.Wrap(err, "as user %s", r.DB.Config().User)
	case pg.Code == "55P03":
		return ErrReleasePending.Wrap(err, "the writers of the outbox did not make way").
			Fix("Nothing was released. Look for long transactions that write to the outbox, and try again.")
	}
	return wire.QueryFault(err, "release parked events")
}

// await waits until the daemon has confirmed what is written now: then the releases, and
// what became of their rows, are in their topics. flushed is enough where what is awaited
// is committed.
func (r Release) await(ctx context.Context, flushed bool) error {
	end, err := capture.WALEnd(ctx, r.DB, flushed)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, r.Wait)
	defer cancel()
	tick := time.NewTicker(lookPause)
	defer tick.Stop()
	for {
		slot, err := capture.ReadSlot(ctx, r.DB, r.Slot)
		if err != nil {
			return err
		}
		if slot.ConfirmedFlush >= end {
			return nil
		}
		select {
		case <-tick.C:
		case <-limited.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return r.pending(ctx)
		}
	}
}

// pending is the error for a daemon that has not come to what is released.
func (r Release) pending(ctx context.Context) error {
	slot, err := capture.ReadSlot(ctx, r.DB, r.Slot)
	if err != nil {
		return err
	}
	why := "it has not come to them: look at `runnel status`"
	if !slot.Active {
		why = "none is streaming from slot " + r.Slot
	}
	return ErrReleasePending.New("waited %s for the daemon; %s", r.Wait, why)
}

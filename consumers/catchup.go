package consumers

import (
	"context"
	"errors"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
)

// A subscription may leave out messages that are in the topic: Pulsar 4.0.8,
// when it hands a partition from one consumer to the next, sometimes delivers
// nothing until another message is published, and sometimes that message
// without those before it (apache/pulsar#26174 is of this kind). It also starts
// behind a copy's position when the copy was restored from a backup, or when
// another service acknowledged under the same name.
//
// Invariant: what decides is the topic. Where the subscription jumps, or stays
// silent, the partition is read from the stored position on, and only what the
// topic itself lacks is a gap.

// Bounds of the pauses after which a silent subscription is looked after.
const (
	silentFirst = 2 * time.Second
	silentLast  = time.Minute
)

// errHandedOver says that another instance is served now.
var errHandedOver = errors.New("another instance took the partition over")

// catchUp applies what the partition holds after the stored position, and
// returns how many messages that were, without those that were passed over. It
// stops early when another instance takes over. An error of the broker is a *lost.
func (w *worker) catchUp(ctx context.Context, link *link) (applied int, err error) {
	from := broker.Start{}
	if id, found, err := w.reached(ctx); err != nil {
		return 0, err
	} else if found {
		from.After = &id
	}
	reader, err := w.client.Read(ctx, w.partition, from)
	if err != nil {
		return 0, &lost{err}
	}
	defer reader.Close()
	for {
		batch, err := w.readBatch(ctx, reader)
		if err != nil {
			return applied, &lost{err}
		}
		if len(batch) == 0 {
			return applied, nil
		}
		if !link.consumer.Active() {
			return applied, errHandedOver
		}
		batch, foreign := w.foreign.without(batch)
		for len(batch) > 0 {
			done, err := w.applyBatch(ctx, batch, link)
			applied += done
			batch = batch[done:]
			if err == nil {
				continue
			}
			if ok, failed := w.accept(ctx, err, batch, from.After == nil); failed != nil {
				return applied, failed
			} else if !ok {
				return applied, err
			}
		}
		if foreign != nil {
			link.ack(foreign.ID)
		}
	}
}

// readBatch reads what is there, up to the bounds of a batch.
func (w *worker) readBatch(ctx context.Context, reader broker.Reader) (batch []*broker.Incoming, err error) {
	for bytes := 0; len(batch) < w.p.cfg.BatchSize && bytes < w.p.cfg.BatchBytes; {
		if more, err := reader.HasNext(ctx); err != nil || !more {
			return batch, err
		}
		m, err := reader.Next(ctx)
		if err != nil {
			return batch, err
		}
		batch = append(batch, m)
		bytes += len(m.Payload)
	}
	return batch, nil
}

// reached returns the id of the last message that the copy covers, waiting
// while the database is down.
func (w *worker) reached(ctx context.Context) (id broker.MessageID, found bool, err error) {
	for {
		id, found, err = w.p.reached(ctx, w.partition)
		if err == nil {
			w.database.over()
			return id, found, nil
		}
		if errors.Is(err, ErrVersion) || errors.Is(err, ErrTables) {
			return id, false, err
		}
		w.status.troubled(err, 0)
		if err := w.database.wait(ctx, err); err != nil {
			return id, false, err
		}
	}
}

// jumped is the answer to a gap in what was delivered. Its error is the gap
// itself where the topic does not close it.
func (w *worker) jumped(ctx context.Context, link *link, gap error) error {
	n, err := w.catchUp(ctx, link)
	if n > 0 {
		w.log.Warn("the subscription left out messages; they were read from the topic", keyCount, n)
	}
	if err == nil && n == 0 {
		return gap
	}
	return err
}

// silent looks after a subscription that has not delivered for a while, and
// reports whether it should have.
func (w *worker) silent(ctx context.Context, link *link) (should bool, err error) {
	w.tidy(ctx)
	w.wakeAt(w.p.now()) // another instance may have had the partition, and parked events
	limit, err := w.limitIfBuilding(ctx)
	if err != nil {
		return false, err
	}
	n, err := w.catchUp(ctx, link)
	if n == 0 && err == nil {
		err = w.completed(ctx, limit) // nothing, if this copy is not being built
	}
	if n > 0 {
		w.log.Warn("the subscription was silent; messages were read from the topic", keyCount, n)
	}
	if errors.Is(err, errHandedOver) {
		err = nil
	}
	return n > 0, err
}

package pipeline

import (
	"context"
	"sync"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/history"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/properties"
	"github.com/runnel-cdc/runnel/router"
)

// fence is the right to publish for the pipeline: who has it is the history topic's
// producer. It is lost when the broker has not heard of us for a while, which we may learn
// late.
//
// Invariant: what is decided by what the partitions hold, stays right. A daemon that was
// given up may find a partition free and publish there what it had read, which is harmless
// as long as its successor would do the same. One that does not, as the history or the
// routes have changed, claims first: it adds a record. Then it becomes each partition's
// producer, and reads. And whoever becomes a partition's producer checks, after that, that
// no record was added behind the one it knows. So a daemon from before either has the
// partition before the claim, and is waited for; or finds the claim; and when it has had
// the partition before another did, the broker refuses it for good.
type fence struct {
	broker.Producer
	client  broker.Client
	topic   broker.Partition
	last    *history.Record  // that the topic holds; nil when there is none, until publishEras
	at      broker.MessageID // of last
	next    uint64           // ordinal of the next
	settled history.Record   // what the database says was published under

	mu     sync.Mutex
	reader broker.Reader // behind at; nil until it is asked for
}

// acquireHistory becomes the producer of the pipeline's history topic, and reads its last
// record.
func (r *run) acquireHistory(ctx context.Context) (*fence, error) {
	p := r.historyTopic()
	producer, tail, err := r.client.Acquire(ctx, broker.AcquireRequest{Partition: p, Producer: r.producerName(), Replayed: position.Beyond, Foreign: r.foreign},
		func(holder string) { r.report.waiting(p.String(), holder) })
	if err != nil {
		return nil, notApplied(err, p.Topic)
	}
	r.report.acquired(p.String())
	f := &fence{Producer: producer, client: r.client, topic: p, at: tail.Last, next: tail.Stamp.Ordinal + 1, settled: r.eraRecord()}
	f.settled.Eras = f.settled.Eras[:len(f.settled.Eras)-len(r.source.Unsettled())]
	if tail.Stamp.Ordinal > 0 {
		f.last, err = r.readHistory(ctx, p, tail.Last)
	}
	if err == nil {
		err = r.knowsPartitions(ctx, f.last)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// claim keeps those who had the right before from every partition that they are not the
// producer of yet.
func (f *fence) claim(ctx context.Context) error {
	switch {
	case f.last != nil:
		return f.write(ctx, *f.last)
	case len(f.settled.Eras) > 0: // the topic was deleted, or nobody has published anything
		return f.write(ctx, f.settled)
	}
	return nil
}

// write publishes a record and waits until it is stored.
func (f *fence) write(ctx context.Context, record history.Record) error {
	payload, err := record.Marshal()
	if err != nil {
		return err
	}
	h, err := record.History()
	if err != nil {
		return err
	}
	newest := h[len(h)-1]
	at := position.Stamp{Position: position.Position{Epoch: newest.Epoch, LSN: newest.Begin, Index: uint32(f.next)}, Ordinal: f.next}
	type result struct {
		id  broker.MessageID
		err error
	}
	stored := make(chan result, 1)
	f.Send(ctx, &broker.Outgoing{
		Key: record.Pipeline, Payload: payload,
		Properties: properties.List{{Name: router.PropertyType, Value: history.EventType}, {Name: position.Property, Value: at.String()}},
	}, func(id broker.MessageID, err error) { stored <- result{id, err} })
	select {
	case got := <-stored:
		if got.err == nil {
			f.last, f.at, f.next = &record, got.id, f.next+1
		}
		return got.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// check asks the broker whether anybody has claimed the right since the last record of
// ours. It may be called concurrently, once all of those are written.
func (f *fence) check(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reader == nil {
		after := f.at
		after.Batch = -1
		reader, err := f.client.Read(ctx, f.topic, broker.Start{After: &after})
		if err != nil {
			return err
		}
		f.reader = reader
	}
	claimed, err := f.reader.HasNext(ctx)
	if err == nil && claimed {
		err = ErrLaneLost.New("another daemon has claimed the right to publish").At("%s", f.topic)
	}
	return err
}

// Close gives the right up.
func (f *fence) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reader != nil {
		f.reader.Close()
	}
	f.Producer.Close()
}

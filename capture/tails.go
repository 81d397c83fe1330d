package capture

import (
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/position"
)

// PartitionTail is the last message of a topic partition that is known to be
// durable.
type PartitionTail struct {
	Topic     string
	Partition int
	Last      position.Stamp
	// Resumed is the ordinal behind which the partition goes on, as a person has said,
	// though it has lost messages up to it; 0: none.
	Resumed uint64
	// ResumedSeq is the newest seq of the outbox when that was said: what was lost is none
	// that was written later. -1: it is not known.
	ResumedSeq int64
	// ResumedAt is the end of the WAL when that was said: what was lost is nothing behind it.
	// Zero: it is not known.
	ResumedAt position.Position
}

// GoesOn reports whether the partition is to go on behind what it has lost, and nothing of
// what was published there since is saved.
func (t PartitionTail) GoesOn() bool { return t.Resumed > 0 && t.Resumed == t.Last.Ordinal }

// savedTails are the tails that this process has saved.
type savedTails struct {
	all map[tailKey]position.Stamp
}

type tailKey struct {
	topic     string
	partition int
}

// changed returns the tails that are not saved yet.
func (s *savedTails) changed(tails []PartitionTail) []PartitionTail {
	var changed []PartitionTail
	for _, t := range tails {
		if s.all[tailKey{t.Topic, t.Partition}] != t.Last {
			changed = append(changed, t)
		}
	}
	return changed
}

// saved notes that tails are.
func (s *savedTails) saved(tails []PartitionTail) {
	if s.all == nil {
		s.all = make(map[tailKey]position.Stamp, len(tails))
	}
	for _, t := range tails {
		s.all[tailKey{t.Topic, t.Partition}] = t.Last
	}
}

// queueTails saves tails. They only ever move forward.
func queueTails(batch *pgx.Batch, pipeline string, tails []PartitionTail) {
	for _, t := range tails {
		batch.Queue(`insert into runnel.progress_partition (pipeline, topic, partition, position, ordinal)
			values ($1, $2, $3, $4, $5)
			on conflict (pipeline, topic, partition) do update set position = excluded.position, ordinal = excluded.ordinal
			where runnel.progress_partition.position collate "C" < excluded.position collate "C"`,
			pipeline, t.Topic, t.Partition, t.Last.Position.String(), int64(t.Last.Ordinal))
	}
}

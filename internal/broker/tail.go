package broker

import (
	"context"

	"github.com/runnel-cdc/runnel/internal/position"
)

// firstStep is how many entries the read-back steps back at first.
const firstStep = 64

// readTail reads the last message of a settled partition, and everything from
// the first message at or above r.Replayed. Nothing maps a position to an entry,
// so it steps back by doubling numbers of entries until it finds a message
// below it, then reads forward.
func (p *Pulsar) readTail(ctx context.Context, q Partition, s ledgerStats, r AcquireRequest) (Tail, error) {
	at, any := s.tail()
	if !any {
		return Tail{}, nil
	}
	// Most often the tail's own entry is all that is needed.
	back := r.ReadBack()
	first, err := p.readEntries(ctx, q, at, at, &back)
	if err != nil {
		return Tail{}, err
	}
	if _, oldest := s.back(at, 0); oldest || back.any && first.Less(r.Replayed) {
		return back.Tail(), nil
	}
	start, err := p.stepBack(ctx, q, s, at, r.Replayed, r.Producer)
	if err != nil {
		return Tail{}, err
	}
	back = r.ReadBack()
	if _, err := p.readEntries(ctx, q, start, at, &back); err != nil {
		return Tail{}, err
	}
	return back.Tail(), nil
}

// stepBack returns an entry at or before at whose first message is below a
// position, or the oldest entry there is. Producer's messages alone tell, "": any's: what
// another one says of its place may be anything.
func (p *Pulsar) stepBack(ctx context.Context, q Partition, s ledgerStats, at entryID, below position.Position, producer string) (entryID, error) {
	for step := int64(firstStep); ; step *= 2 {
		start, oldest := s.back(at, step)
		if oldest {
			return start, nil
		}
		first, known, err := p.firstPosition(ctx, q, start, producer)
		if err != nil || known && first.Less(below) {
			return start, err
		}
	}
}

// firstPosition returns the position of an entry's first message. It is not known of a
// message that is not one of the producer's: whoever reads on from there judges it.
func (p *Pulsar) firstPosition(ctx context.Context, q Partition, at entryID, producer string) (first position.Position, known bool, err error) {
	r, err := p.openReader(ctx, q, fromEntry(at), 1)
	if err != nil {
		return position.Position{}, false, err
	}
	defer r.Close()
	m, err := p.next(ctx, r, at)
	if err != nil {
		return position.Position{}, false, err
	}
	stamp, err := m.Stamp()
	return stamp.Position, err == nil && (producer == "" || m.Producer == producer), nil
}

// readEntries reads all messages from the start of one entry to the end of
// another into back, and returns the position of the first.
func (p *Pulsar) readEntries(ctx context.Context, q Partition, start, end entryID, back *ReadBack) (position.Position, error) {
	queue := p.cfg.ReceiveQueue
	if start == end {
		queue = 1 // one entry is sent whole
	}
	r, err := p.openReader(ctx, q, fromEntry(start), queue)
	if err != nil {
		return position.Position{}, err
	}
	defer r.Close()
	var first position.Position
	for n := 0; ; n++ {
		m, err := p.next(ctx, r, end)
		if err != nil {
			return first, err
		}
		here := entryID{m.ID.Ledger, m.ID.Entry}
		if here.after(end) {
			return first, ErrNotSettled.New("%s: an entry %s appeared after the tail %s", q, here, end)
		}
		if err := back.Add(m); err != nil {
			return first, err
		}
		if n == 0 {
			first = back.last.Position
		}
		if here == end && m.ID.Batch+1 >= m.ID.BatchSize {
			return first, nil
		}
	}
}

// next reads one message that the broker says is there.
func (p *Pulsar) next(ctx context.Context, r *reader, until entryID) (*Incoming, error) {
	limited, cancel := context.WithTimeout(ctx, p.cfg.OperationTimeout)
	defer cancel()
	m, err := r.Next(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return nil, ErrUnreadable.New("%s: nothing came after %s within %s, though the last entry is %s",
			r.partition, r.after, p.cfg.OperationTimeout, until)
	}
	return m, err
}

func fromEntry(e entryID) Start {
	return Start{FromEntry: &MessageID{Ledger: e.Ledger, Entry: e.Entry, Batch: -1}}
}

func (e entryID) after(o entryID) bool {
	return e.Ledger > o.Ledger || (e.Ledger == o.Ledger && e.Entry > o.Entry)
}

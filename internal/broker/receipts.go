package broker

import (
	"context"

	"github.com/runnel-cdc/runnel/internal/broker/wire"
	"github.com/runnel-cdc/runnel/internal/failpoint"
)

// Stored is of wire.Events: one receipt for each batch, in order.
func (r *producer) Stored(receipt wire.Receipt) {
	at := entryID{receipt.Ledger, receipt.Entry}
	r.delivering.Lock()
	defer r.delivering.Unlock()
	r.state.Lock()
	err := r.inOrder(receipt.Sequence, at)
	if err == nil {
		err = r.failedAdd()
	}
	switch {
	case r.cause != nil: // too late to count
		r.state.Unlock()
	case err != nil:
		r.stop(err)
		r.state.Unlock()
	case r.probing:
		r.verifying = true
		r.owner.pending.Add(1) // under state: end, which counts too, cannot have ended
		r.state.Unlock()
		// Verifying may ask the broker: not on the connection's goroutine.
		go func() {
			defer r.owner.pending.Done()
			r.probed(at)
		}()
	default:
		e := r.settle(at)
		r.state.Unlock()
		e.deliver(at)
	}
}

// inOrder checks that this is the receipt that is due. Ledger -1 is the broker's
// word for "a duplicate, not stored"; we never resend, so nothing can be one.
// state is held.
func (r *producer) inOrder(sequence uint64, at entryID) error {
	last := entryID{r.last.Ledger, r.last.Entry}
	switch {
	case r.verifying: // the probe's came already, and nothing is behind it
		return ErrAckOrder.New("%s: a second acknowledgement of the first message (id %s)", r.partition, at)
	case r.flight.sent == 0 || sequence != r.flight.head.first:
		return ErrAckOrder.New("%s: an acknowledgement (id %s) does not belong to the oldest message in flight", r.partition, at)
	case at.Ledger < 0 || at.Entry < 0:
		return ErrAckOrder.New("%s: the broker took a message for a duplicate and did not store it", r.partition)
	case !at.after(last):
		return ErrAckOrder.New("%s: acknowledged at %s after %s", r.partition, at, last)
	}
	return nil
}

// failedAdd is a fault that is injected: the add fails although it is stored.
// state is held.
func (r *producer) failedAdd() error {
	if failpoint.Enabled {
		for range r.flight.head.done {
			if err := failpoint.Error("broker.ack"); err != nil {
				return clientFault(err, "%s: sending", r.partition)
			}
		}
	}
	return nil
}

// settle takes the oldest entry out of flight. state is held.
func (r *producer) settle(at entryID) *entry {
	r.last = MessageID{Ledger: at.Ledger, Entry: at.Entry}
	e := r.flight.pop()
	if r.cause == nil {
		r.dispatch()
	}
	r.wake()
	return e
}

// deliver runs the callbacks of an entry that is stored. delivering is held.
func (e *entry) deliver(at entryID) {
	id := MessageID{Ledger: at.Ledger, Entry: at.Entry, BatchSize: int32(len(e.done))}
	for i, done := range e.done {
		id.Batch = int32(i)
		done(id, nil)
	}
	e.recycle()
}

// probed verifies the first message's place and reports it.
func (r *producer) probed(at entryID) {
	ctx, cancel := context.WithTimeout(context.Background(), r.owner.cfg.OperationTimeout)
	defer cancel()
	failpoint.Hit("broker.probe") // stored, its place not verified
	if err := r.verify(ctx, at); err != nil {
		r.fail(err)
		return
	}
	r.delivering.Lock()
	defer r.delivering.Unlock()
	r.state.Lock()
	if r.cause != nil {
		r.state.Unlock()
		return
	}
	r.probing, r.verifying = false, false
	e := r.settle(at)
	r.state.Unlock()
	e.deliver(at)
}

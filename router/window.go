package router

// window knows which transactions are unconfirmed, and what may be confirmed.
//
// Invariants:
//  1. Transactions stand in the order of the stream.
//  2. A transaction is done when its Commit was seen and none of its events is
//     pending (every one acknowledged by the broker, or found there already).
//  3. confirmed is the end LSN of the newest transaction such that it and all
//     before it are done. It only rises (a ratchet).
//  4. The end of WAL that a keepalive names counts as the end of the newest
//     transaction: it is confirmed when, and only when, that one would be. It
//     is not taken while a transaction is half received.
type window struct {
	entries   []entry // a ring: entries[first&mask] .. entries[(next-1)&mask]
	first     txn     // number of the oldest unconfirmed transaction
	next      txn     // number of the next transaction
	open      bool    // the newest transaction's Commit was not seen yet
	confirmed uint64
	pending   int // events pending in all transactions
}

// txn numbers the transactions of a run.
type txn uint64

type entry struct {
	end       uint64 // end LSN of the commit record, or of the WAL read after it
	committed int64  // commit time, microseconds since the Unix epoch
	pending   int
	done      bool // Commit seen
}

func newWindow(confirmed uint64) *window {
	return &window{entries: make([]entry, 1024), confirmed: confirmed}
}

func (w *window) at(t txn) *entry { return &w.entries[uint64(t)&uint64(len(w.entries)-1)] }

// len returns the number of unconfirmed transactions, with the open one.
func (w *window) len() int { return int(w.next - w.first) }

// begin opens a transaction.
func (w *window) begin(committed int64) {
	if w.len() == len(w.entries) {
		grown := make([]entry, 2*len(w.entries))
		for t := w.first; t < w.next; t++ {
			grown[uint64(t)&uint64(len(grown)-1)] = *w.at(t)
		}
		w.entries = grown
	}
	*w.at(w.next) = entry{committed: committed}
	w.next++
	w.open = true
}

// add counts an event of the open transaction and returns its transaction.
func (w *window) add() txn {
	t := w.next - 1
	w.hold(t)
	return t
}

// hold counts one more pending event of a transaction.
func (w *window) hold(t txn) {
	w.at(t).pending++
	w.pending++
}

// commit closes the open transaction. One with nothing pending is confirmed
// exactly when the one before it is, so the two become one: the window is no
// longer than what is pending, however many transactions are replayed.
func (w *window) commit(end uint64) {
	w.open = false
	e := w.at(w.next - 1)
	if e.pending == 0 && w.len() > 1 {
		w.next--
		e = w.at(w.next - 1)
	}
	e.end, e.done = max(e.end, end), true
	w.advance()
}

// settle counts n events of a transaction as published.
func (w *window) settle(t txn, n int) {
	e := w.at(t)
	e.pending -= n
	w.pending -= n
	if e.pending == 0 && t == w.first {
		w.advance()
	}
}

// walEnd takes the end of WAL that the server has sent everything up to.
func (w *window) walEnd(lsn uint64) {
	switch {
	case w.open: // invariant 4
	case w.len() == 0:
		w.confirmed = max(w.confirmed, lsn)
	default:
		e := w.at(w.next - 1)
		e.end = max(e.end, lsn)
	}
}

func (w *window) advance() {
	for w.first < w.next {
		e := w.at(w.first)
		if !e.done || e.pending > 0 {
			return
		}
		w.confirmed = max(w.confirmed, e.end)
		w.first++
	}
}

// oldest returns the commit time of the oldest unconfirmed transaction.
func (w *window) oldest() (committed int64, ok bool) {
	if w.len() == 0 {
		return 0, false
	}
	return w.at(w.first).committed, true
}

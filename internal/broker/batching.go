package broker

// When a batch leaves. Idle, a message is on its way at once; under load, a batch
// grows as long as the one before is on its way:
//
//   - nothing of this producer is in flight: at once;
//   - the last receipt that was due has come: then;
//   - the next message does not fit, or has another schema: then;
//   - Flush was called, or Config.BatchDelay has passed since its first message: then.
//
// The link takes one batch at a time: while that one waits for the connection,
// the open one grows to its limit, and then Send waits.

// joined decides after a message has joined the open batch. state is held.
func (r *producer) joined(opened bool) {
	switch {
	case !r.writing && r.flight.sent == 0:
		r.leave()
	case opened:
		r.delay.Reset(r.owner.cfg.BatchDelay)
	}
}

// leave gives the open batch to the link, which is not writing. state is held.
func (r *producer) leave() {
	e := r.open
	r.open, r.due, r.writing = nil, false, true
	r.flight.sent++
	r.delay.Stop() // if it is too late for that, the next batch leaves early
	r.link.Send(e.batch)
	e.batch = nil
}

// leaveIfDue is for whoever has changed one of the conditions. state is held.
func (r *producer) leaveIfDue() {
	if r.open != nil && r.cause == nil && !r.writing && (r.due || r.flight.sent == 0) {
		r.leave()
	}
}

// Written is of wire.Events.
func (r *producer) Written() {
	r.state.Lock()
	defer r.state.Unlock()
	r.writing = false
	r.leaveIfDue()
	r.wake()
}

// Flush implements Producer.
func (r *producer) Flush() { r.delayed() }

// delayed makes the open batch due.
func (r *producer) delayed() {
	r.state.Lock()
	defer r.state.Unlock()
	r.due = r.open != nil
	r.leaveIfDue()
}

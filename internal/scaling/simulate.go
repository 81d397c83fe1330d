package scaling

import (
	"fmt"
	"slices"
)

// Simulate makes one history of steps in the order that pick draws, then lets everybody
// work in peace until nothing is left to do. pick(n) returns a number from 0 to n-1.
// The error is a *Violation.
func Simulate(pick func(n int) int, mutant Mutant) error {
	return newWorld(pick, mutant).simulate()
}

func (w *world) simulate() error {
	pick := w.pick
	writes, faults := pick(24), pick(30)
	for range 20 + pick(1200) {
		can := w.work()
		if a := w.nextSwitch(); a != nil && pick(4) == 0 {
			can = append(can, *a)
		}
		if writes > 0 {
			can = append(can, action{"rows are written", func() error {
				writes--
				w.open = append(w.open, w.write(8))
				return nil
			}})
		}
		if len(w.open) > 0 {
			can = append(can, w.commitOne(pick(len(w.open))))
		}
		if all := w.faults(); faults > 0 && len(all) > 0 && pick(8) == 0 { // or they would all come first
			f := all[pick(len(all))]
			can = append(can, action{f.name, func() error { faults--; return f.do() }})
		}
		if all := w.cutOff(); len(all) > 0 && pick(4) == 0 {
			can = append(can, all...)
		}
		if len(can) == 0 {
			break
		}
		if err := w.do(can[pick(len(can))]); err != nil {
			return err
		}
	}
	return w.finish()
}

// action is a step of somebody's.
type action struct {
	name string
	do   func() error
}

func (w *world) do(a action) error {
	w.trace = append(w.trace, a.name)
	return a.do()
}

func (w *world) commitOne(i int) action {
	t := w.open[i]
	return action{fmt.Sprintf("commit of %v", t.rows), func() error {
		w.open = slices.Delete(w.open, i, i+1)
		w.commit(t)
		return nil
	}}
}

// finish does what there is to do until nothing is.
func (w *world) finish() error {
	w.trace = append(w.trace, "in peace")
	for len(w.open) > 0 {
		if err := w.do(w.commitOne(0)); err != nil {
			return err
		}
	}
	for a := w.nextSwitch(); a != nil; a = w.nextSwitch() {
		if err := w.do(*a); err != nil {
			return err
		}
	}
	for _, a := range w.cutOff() {
		if err := w.do(a); err != nil {
			return err
		}
	}
	for range 10_000 {
		can := w.work()
		if len(can) == 0 {
			return w.checkEnd()
		}
		if err := w.do(can[w.pick(len(can))]); err != nil {
			return err
		}
	}
	return w.violation("there is no end")
}

// work returns what members and broker can do.
func (w *world) work() []action {
	var can []action
	add := func(do func() error, format string, args ...any) {
		can = append(can, action{fmt.Sprintf(format, args...), do})
	}
	for _, m := range w.withSlot() {
		switch {
		case w.slots[m].holder != nil:
		case w.drained[m]:
			add(func() error { w.drop(m); return nil }, "slot %s is dropped", m)
		default:
			add(func() error { w.start(m); return nil }, "%s starts", m)
		}
	}
	for _, r := range w.runs {
		if !r.dead {
			w.workOf(r, add)
		}
	}
	for _, s := range w.sessions {
		if !s.closed && len(s.inFlight) > 0 {
			add(func() error { return w.store(s) }, "partition %d stores row %d", s.partition, s.inFlight[0].row)
		}
	}
	return can
}

// workOf adds what a run can do.
func (w *world) workOf(r *run, add func(do func() error, format string, args ...any)) {
	if r.mayRead(w) {
		add(func() error { return r.read(w) }, "%s reads %d", r.name, r.next)
	}
	if r.confirmable() > r.confirmed {
		add(func() error { return r.confirm(w) }, "%s confirms %d", r.name, r.confirmable())
	}
	switch {
	case w.drained[r.member]:
		add(func() error { return r.stop(w) }, "%s ends", r.name)
	case r.isDrained(w):
		add(func() error {
			w.drained[r.member] = true
			w.reached[ghostDrained] = w.reached[ghostDrained] || r.slot == nil
			return nil
		}, "%s is drained", r.name)
	}
	for p := range r.lanes {
		l := &r.lanes[p]
		may := r.may(w, p)
		switch {
		case l.session == nil:
			if len(l.waiting) > 0 && w.free(p) && (may || w.mutant == TakesFirst) {
				add(func() error { return r.acquire(w, p) }, "%s acquires partition %d", r.name, p)
			}
			continue
		case l.session.closed:
			add(func() error { return r.stop(w) }, "%s finds partition %d lost, and ends", r.name, p)
			continue
		case l.session.stored > 0:
			add(func() error { return r.acked(w, p) }, "%s hears of row %d", r.name, l.inFlight[0].row)
		}
		if len(l.waiting) > 0 && may {
			add(func() error { return r.send(w, p) }, "%s sends row %d", r.name, l.waiting[0].row)
		}
	}
}

// cutOff returns the end of each run that has lost its slot: it learns of that, sooner or later.
func (w *world) cutOff() []action {
	var can []action
	for _, r := range w.runs {
		if !r.dead && r.slot == nil {
			can = append(can, action{r.name + " learns that its slot is lost, and ends", func() error { return r.stop(w) }})
		}
	}
	return can
}

// faults returns what can go wrong.
func (w *world) faults() []action {
	var can []action
	for _, m := range w.withSlot() {
		s := w.slots[m]
		can = append(can, action{"slot " + m.String() + " goes back", func() error { s.goBack(w.pick); return nil }})
	}
	for _, r := range w.runs {
		if r.dead {
			continue
		}
		can = append(can, action{r.name + " is killed", func() error { return r.stop(w) }})
		if r.slot != nil {
			can = append(can, action{r.name + " loses its slot, and goes on", func() error {
				r.slot.holder, r.slot = nil, nil
				return nil
			}})
		}
		for p := range r.lanes {
			if s := r.lanes[p].session; s != nil && !s.closed {
				can = append(can, action{fmt.Sprintf("%s loses partition %d", r.name, p), func() error { return w.close(s) }})
			}
		}
	}
	return can
}

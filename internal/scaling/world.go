package scaling

// world is what survives everybody: log, slots, partitions, and what the source database
// keeps of the pipeline.
type world struct {
	pick   func(n int) int // 0 <= pick(n) < n: the order of things
	mutant Mutant

	log     []*transaction
	open    []*transaction // written, not committed
	rows    int
	began   map[int]uint64 // where layouts begin: the truth, which nobody may look at
	layouts []layout       // all that will ever be
	want    [][]int        // rows by partition, in the order of their commits

	published  map[int]int // when the publications of a layout were made
	slots      map[member]*slot
	partitions []partition
	sessions   []*session
	runs       []*run
	lives      map[member]int // how many runs each member had

	// In the database:
	begins  map[int]uint64 // where layouts begin, as a member that met the record saved it
	made    map[member]bool
	drained map[member]bool // everything that the member was to publish is stored

	trace   []string
	reached map[string]bool // what is worth knowing of a history: that it had it
}

// slot is a replication slot. It streams from confirmed on, to one at a time.
type slot struct {
	start, confirmed uint64
	holder           *run
}

// What histories reach.
const (
	backToOne     = "from several members back to one"
	threeAtOnce   = "a layout begins, and the last but one is not drained"
	diedInFlight  = "a member of a later layout ends with messages in flight"
	ghostAcquired = "a member that has lost its slot becomes a partition's producer"
	ghostDrained  = "a member that has lost its slot finds that it is drained"
)

// memory bounds the events that a run has read and not settled.
const memory = 12

func newWorld(pick func(n int) int, mutant Mutant) *world {
	w := &world{
		pick: pick, mutant: mutant, began: map[int]uint64{0: 0}, begins: map[int]uint64{0: 0},
		published: map[int]int{0: 0}, slots: map[member]*slot{}, lives: map[member]int{},
		made: map[member]bool{}, drained: map[member]bool{}, reached: map[string]bool{},
	}
	n := 1 + pick(3)
	w.partitions, w.want = make([]partition, n), make([][]int, n)
	w.layouts = []layout{{owners: make([]int, n), members: 1}} // one member, as today
	for range 1 + pick(4) {
		next := layout{owners: make([]int, n), members: 1 + pick(3)}
		for p := range next.owners {
			next.owners[p] = pick(next.members)
		}
		w.layouts = append(w.layouts, next)
	}
	w.create(member{})
	return w
}

// create makes a slot, which starts here.
func (w *world) create(m member) {
	w.slots[m] = &slot{start: w.walEnd(), confirmed: w.walEnd()}
	w.made[m] = true
}

// goBack is what a crash of Postgres does to a slot: it has forgotten the last confirmations.
func (s *slot) goBack(pick func(n int) int) {
	s.confirmed = s.start + 10*uint64(pick(int(s.confirmed-s.start)/10+1))
	if s.holder != nil {
		s.holder.slot, s.holder = nil, nil
	}
}

// drop removes a slot. Who streams from it is cut off.
func (w *world) drop(m member) {
	if s := w.slots[m]; s.holder != nil {
		s.holder.slot = nil
	}
	delete(w.slots, m)
}

// newest returns the layout that was begun last.
func (w *world) newest() int {
	for l := len(w.layouts) - 1; ; l-- {
		if _, ok := w.began[l]; ok {
			return l
		}
	}
}

// nextSwitch returns the next step of the switch to the next layout, nil when there is none
// yet. It may be cut off after any of them: what is made already stays.
//
// Invariants:
//  1. A slot is made when every transaction is over that was open when its publication was
//     made: what was written before that is not in its stream, whenever it is committed.
//  2. All slots of a layout are made before its record is written. So each shows its member
//     the record, and every row of a transaction that is committed behind it.
func (w *world) nextSwitch() *action {
	next := w.newest() + 1
	switch {
	case w.mutant == LateSlots && next > 1 && !w.allMade(next-1):
		return w.makeSlots(next - 1)
	case next == len(w.layouts):
		return nil
	case w.mutant != LateSlots && !w.allMade(next):
		return w.makeSlots(next)
	}
	return &action{"layout begins", func() error {
		t := w.write(2) // rows of the record's transaction are the former layout's
		t.layout = next
		w.commit(t)
		w.reached[backToOne] = w.reached[backToOne] || w.layouts[next].members == 1 && w.layouts[next-1].members > 1
		w.reached[threeAtOnce] = w.reached[threeAtOnce] || next > 1 && !w.allDrained(next-2)
		switch w.mutant {
		case LateSlots:
			w.begins[next] = w.began[next] // or nobody would ever learn it
		case DropsEarly:
			for m := range w.slots {
				if m.layout < next {
					w.drained[m] = true
					w.drop(m)
				}
			}
		}
		return nil
	}}
}

func (w *world) allMade(l int) bool {
	for i := range w.layouts[l].members {
		if !w.made[member{l, i}] {
			return false
		}
	}
	return true
}

func (w *world) allDrained(l int) bool {
	for i := range w.layouts[l].members {
		if !w.drained[member{l, i}] {
			return false
		}
	}
	return true
}

// makeSlots returns the next step on the way to a layout's slots.
func (w *world) makeSlots(l int) *action {
	made, ok := w.published[l]
	if !ok {
		return &action{"publications", func() error { w.published[l] = len(w.trace); return nil }}
	}
	if len(w.open) > 0 && w.open[0].written < made && w.mutant != CopiesSlots {
		return nil // Postgres waits
	}
	for i := range w.layouts[l].members {
		if m := (member{l, i}); !w.made[m] {
			return &action{"slot " + m.String(), func() error { w.create(m); return nil }}
		}
	}
	return nil
}

// withSlot returns the members that have a slot, in order.
func (w *world) withSlot() []member {
	var all []member
	for l := range w.layouts {
		for i := range w.layouts[l].members {
			if w.slots[member{l, i}] != nil {
				all = append(all, member{l, i})
			}
		}
	}
	return all
}

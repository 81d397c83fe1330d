package scaling

import (
	"fmt"
	"slices"
	"strings"
)

// Violation is a broken promise, with what led to it.
type Violation struct {
	What  string
	Trace []string // the steps, in order
}

func (v *Violation) Error() string {
	return fmt.Sprintf("%s\nafter\n  %s", v.What, strings.Join(v.Trace, "\n  "))
}

func (w *world) violation(format string, args ...any) error {
	return &Violation{What: fmt.Sprintf(format, args...), Trace: slices.Clone(w.trace)}
}

// checkStored is called after each message: a partition holds a prefix of what was committed
// for it, in the order of the commits, at rising positions. So nothing is repeated, left out or out of
// order, not even for a while.
func (w *world) checkStored(p int) error {
	log := w.partitions[p].log
	n := len(log)
	if n > len(w.want[p]) || log[n-1].row != w.want[p][n-1] {
		return w.violation("partition %d holds %s, of %v", p, rows(log), w.want[p])
	}
	if n > 1 && !log[n-2].at.Less(log[n-1].at) {
		return w.violation("partition %d holds %s behind %s", p, log[n-1].at, log[n-2].at)
	}
	return nil
}

func rows(log []message) string {
	ids := make([]int, 0, len(log))
	for _, m := range log {
		ids = append(ids, m.row)
	}
	return fmt.Sprint(ids)
}

// checkConfirmed: what a member owns is stored before its slot passes it.
func (w *world) checkConfirmed(m member, confirmed uint64) error {
	stored := map[int]bool{}
	for p := range w.partitions {
		for _, message := range w.partitions[p].log {
			stored[message.row] = true
		}
	}
	for _, t := range w.log {
		if t.begin >= confirmed || w.layoutAt(t.begin) != m.layout {
			continue
		}
		for _, r := range t.rows {
			if w.layouts[m.layout].owners[r.partition] == m.index && !stored[r.id] {
				return w.violation("member %s confirms %d, and row %d of %d is not stored", m, confirmed, r.id, t.begin)
			}
		}
	}
	return nil
}

// checkEnd: when nobody is disturbed any more everything is published and confirmed, and
// only the slots of the newest layout are left.
func (w *world) checkEnd() error {
	for p := range w.partitions {
		if log := w.partitions[p].log; len(log) != len(w.want[p]) {
			return w.violation("in the end partition %d holds %s of %v", p, rows(log), w.want[p])
		}
	}
	newest := w.newest()
	for _, m := range w.withSlot() {
		if m.layout < newest {
			return w.violation("in the end member %s has its slot still", m)
		}
		if w.slots[m].confirmed != w.walEnd() {
			return w.violation("in the end member %s has confirmed %d of %d", m, w.slots[m].confirmed, w.walEnd())
		}
	}
	return nil
}

package scaling

import (
	"fmt"

	"github.com/runnel-cdc/runnel/internal/position"
)

// row is an event in the outbox.
type row struct {
	id        int
	partition int // that its key hashes to
}

// transaction is one of the log, or open. Its end is the begin of the next one, as Postgres
// has it.
type transaction struct {
	begin, end uint64 // of the commit record; begin is what positions carry
	rows       []row
	layout     int // its control record begins this layout; 0: it has none
	written    int // when its rows were: the number of steps before
}

// layout says who owns which partition.
type layout struct {
	owners  []int // member by partition
	members int
}

// member is one of a layout.
type member struct{ layout, index int }

func (m member) String() string { return fmt.Sprintf("%d.%d", m.layout, m.index) }

// message is what a partition holds.
type message struct {
	at  position.Position
	row int
}

// at returns a position in the only epoch.
func at(lsn uint64, index int) position.Position {
	return position.Position{Epoch: 1, LSN: lsn, Index: uint32(index)}
}

// walEnd is the end of the log.
func (w *world) walEnd() uint64 {
	if len(w.log) == 0 {
		return 10
	}
	return w.log[len(w.log)-1].end
}

// write writes rows, any partitions', that nobody sees before they are committed.
func (w *world) write(atMost int) *transaction {
	t := &transaction{written: len(w.trace)}
	for range w.pick(atMost + 1) {
		t.rows = append(t.rows, row{id: w.rows, partition: w.pick(len(w.partitions))})
		w.rows++
	}
	return t
}

// commit adds a transaction to the log.
func (w *world) commit(t *transaction) {
	t.begin, t.end = w.walEnd(), w.walEnd()+10
	for _, r := range t.rows {
		w.want[r.partition] = append(w.want[r.partition], r.id)
	}
	w.log = append(w.log, t)
	if t.layout > 0 {
		w.began[t.layout] = t.begin
	}
}

// layoutAt returns the layout that a position belongs to: a layout begins behind its
// record. This is the truth, for the checks.
func (w *world) layoutAt(lsn uint64) int {
	now := 0
	for l := range w.layouts {
		if began, ok := w.began[l]; ok && began < lsn {
			now = l
		}
	}
	return now
}

// read returns the first transaction that a slot streams from lsn on, nil at the end.
func (w *world) read(lsn uint64) *transaction {
	for _, t := range w.log {
		if t.begin >= lsn {
			return t
		}
	}
	return nil
}

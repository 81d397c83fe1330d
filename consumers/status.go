package consumers

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
)

// PartitionStatus is how a partition is doing in this instance.
type PartitionStatus struct {
	Topic     string
	Partition int
	Connected bool      // subscribed; another instance may be the one that is served
	Position  Position  // the last that this instance passed; zero: none since Run
	Ordinal   uint64    // of that position
	PassedAt  time.Time // when
	Parked    int64     // events that failed, or wait behind one that did, as this instance saw last
	Tries     int       // of the event that keeps the partition waiting; 0: none does
	Err       error     // what the partition waits for, or why it stopped; nil: nothing
	Stopped   bool      // for good
}

// Status returns how each partition is doing, ordered by topic and partition.
// It asks no server; Positions tells what is in the database.
func (p *Projection) Status() []PartitionStatus {
	p.mu.Lock()
	statuses := slices.Clone(p.statuses)
	p.mu.Unlock()
	all := make([]PartitionStatus, len(statuses))
	for i, s := range statuses {
		s.mu.Lock()
		all[i] = s.now
		s.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b PartitionStatus) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return all
}

func (p *Projection) forgetStatuses() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.statuses = nil
}

// status is written by a worker and read by Status.
type status struct {
	mu  sync.Mutex
	now PartitionStatus
}

func newStatus(of broker.Partition) *status {
	return &status{now: PartitionStatus{Topic: of.Topic, Partition: of.Index}}
}

func (s *status) update(change func(*PartitionStatus)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.now)
}

func (s *status) connected(yes bool) { s.update(func(p *PartitionStatus) { p.Connected = yes }) }

func (s *status) passed(to position.Stamp, at time.Time) {
	s.update(func(p *PartitionStatus) {
		p.Position, p.Ordinal, p.PassedAt, p.Tries, p.Err = to.Position, to.Ordinal, at, 0, nil
	})
}

func (s *status) parked(n int64) { s.update(func(p *PartitionStatus) { p.Parked = n }) }

func (s *status) troubled(err error, tries int) {
	s.update(func(p *PartitionStatus) { p.Err, p.Tries = err, tries })
}

func (s *status) stopped(err error) {
	s.update(func(p *PartitionStatus) { p.Err, p.Stopped = err, true })
}

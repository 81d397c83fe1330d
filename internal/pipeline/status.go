package pipeline

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/runnel-cdc/runnel/internal/fault"
)

// The states of a pipeline.
const (
	Starting  = "starting"  // a run is being prepared
	Waiting   = "waiting"   // another holds the slot or a partition
	Streaming = "streaming" // the slot is ours, events pass
	Retrying  = "retrying"  // a run failed, the next one is due
	Halted    = "halted"    // a person must do something; it looks again by itself
	Draining  = "draining"  // the run ends and waits for acknowledgements
	Stopped   = "stopped"
)

// Status is a pipeline at a glance, as GET /status returns it.
type Status struct {
	Pipeline string    `json:"pipeline"`
	Version  string    `json:"version"` // of the daemon
	Started  time.Time `json:"started"` // when the daemon was
	State    string    `json:"state"`
	Since    time.Time `json:"since"` // when it entered that state
	Run      int       `json:"run"`
	// NextRun is when the next run begins; null while there is one.
	NextRun *time.Time `json:"next_run"`
	// Code, Message and Remedy tell the last error while it lasts. The message
	// says where, if that is known, but not the code.
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	Remedy  string `json:"remedy,omitempty"`
	// Warnings are what is about to go wrong, whatever the state.
	Warnings []Warning `json:"warnings,omitempty"`
	// Confirmed is the LSN up to which everything is durable in its topic.
	Confirmed string `json:"confirmed_lsn,omitempty"`
	// LagBytes is null before it is measured, and while there is no slot.
	LagBytes *int64 `json:"lag_bytes"`
	// OldestSeconds is null where nothing is known, as while the source database has not answered
	// since the daemon was started. Beside a run it may be too high: what was published within a
	// second of the last saved progress counts, and while the database does not answer, it is the
	// time since nothing was waiting.
	OldestSeconds  *float64      `json:"oldest_unpublished_seconds"`
	InFlightEvents int           `json:"in_flight_events"` // read and not published; beside a run, when the last one ended
	InFlightBytes  int           `json:"in_flight_bytes"`
	Published      uint64        `json:"published"` // events, in this run
	Topics         []TopicStatus `json:"topics,omitempty"`
	// Parked is what the dead-letter topic holds; nil when nothing is parked.
	Parked *ParkedStatus `json:"parked,omitempty"`
}

// ParkedStatus is what waits for a person.
type ParkedStatus struct {
	Events     int       `json:"events"`
	Aggregates int       `json:"aggregates"`
	Since      time.Time `json:"since"` // when the first of them was committed
}

// TopicStatus is one topic's part of a Status.
type TopicStatus struct {
	Topic      string            `json:"topic"`
	Published  uint64            `json:"published"` // events, in this run
	Partitions []PartitionStatus `json:"partitions"`
}

// PartitionStatus is what is known of a partition that events went to in this run.
type PartitionStatus struct {
	Partition int    `json:"partition"`
	Position  string `json:"position"` // of the last message known to be durable, as in its property
	Ordinal   uint64 `json:"ordinal"`  // of the same: so many messages are in the partition
}

// reporter gathers what status and metrics tell. The run's goroutines write,
// HTTP handlers read.
type reporter struct {
	metrics *metrics

	mu       sync.Mutex
	st       Status
	backlog  backlog
	held     map[string]string // partitions that are waited for, with their holders
	resuming time.Time         // when a run began to stream after a halt that it has not proved over; zero: none

	warned map[*fault.Code]bool // of retention alone
}

// provenAfter is how long a run after a halt must last for the halt to be over,
// unless it publishes something before.
const provenAfter = 5 * time.Second

func newReporter(cfg Config) *reporter {
	now := time.Now()
	r := &reporter{
		st:   Status{Pipeline: cfg.Name, Version: cfg.Version, Started: now, State: Starting, Since: now},
		held: make(map[string]string),
	}
	r.metrics = newMetrics(cfg.Version, func() (float64, bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.age()
	})
	return r
}

// age is that of the oldest unpublished transaction, in seconds, if it is known. mu is held.
func (r *reporter) age() (seconds float64, known bool) {
	return r.backlog.age()
}

func (r *reporter) status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := r.st
	if seconds, known := r.age(); known {
		st.OldestSeconds = &seconds
	}
	st.Topics = append([]TopicStatus(nil), st.Topics...)
	return st
}

// enter changes the state. The last error stays visible until streaming.
func (r *reporter) enter(state string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.st.State != state {
		r.st.State, r.st.Since = state, time.Now()
	}
	r.metrics.entered(state)
	switch {
	case err != nil:
		r.st.Code, r.st.Message, r.st.Remedy = "", err.Error(), ""
		if f := fault.Find(err); f != nil {
			r.st.Code, r.st.Message, r.st.Remedy = f.Code.ID, withoutCode(err, f), f.WhatToDo()
		}
	case state == Streaming || state == Stopped:
		r.st.Code, r.st.Message, r.st.Remedy = "", "", ""
	}
	r.metrics.haltedWith(state == Halted, r.st.Code)
}

// withoutCode is the text of err, in whose chain f is, without f's code, which
// has a field of its own.
func withoutCode(err error, f *fault.Error) string {
	bare := strings.Replace(f.Error(), f.Code.ID+" ", "", 1)
	return strings.Replace(err.Error(), f.Error(), bare, 1)
}

func (r *reporter) starting(attempt int) {
	r.mu.Lock()
	r.st.Run, r.st.NextRun = attempt, nil
	r.backlog.begin()
	clear(r.held)
	halted := r.st.State == Halted
	r.mu.Unlock()
	r.metrics.runs.Inc()
	if !halted { // a halt lasts until a run has proved that it is over
		r.enter(Starting, nil)
	}
}

// streaming tells that the slot is ours. After a halt that proves nothing yet.
func (r *reporter) streaming() {
	r.mu.Lock()
	if r.st.State == Halted {
		r.resuming = time.Now()
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	r.enter(Streaming, nil)
}

// resume ends a halt, if one was about to end.
func (r *reporter) resume(proved bool) {
	r.mu.Lock()
	over := !r.resuming.IsZero() && (proved || time.Since(r.resuming) > provenAfter)
	if over {
		r.resuming = time.Time{}
	}
	r.mu.Unlock()
	if over {
		r.enter(Streaming, nil)
	}
}

func (r *reporter) draining() {
	r.mu.Lock()
	resuming := !r.resuming.IsZero()
	r.mu.Unlock()
	if !resuming {
		r.enter(Draining, nil)
	}
}

func (r *reporter) stopped() { r.enter(Stopped, nil) }

// pausing tells when the next run begins.
func (r *reporter) pausing(until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.st.NextRun = &until
}

func (r *reporter) halted(err error) {
	r.metrics.failed(err)
	r.ended()
	r.enter(Halted, err)
}

func (r *reporter) failed(err error) {
	r.metrics.failed(err)
	r.ended()
	r.enter(Retrying, err)
}

// blocked tells that another daemon is at work.
func (r *reporter) blocked(err error) {
	r.ended()
	r.enter(Waiting, err)
}

func (r *reporter) ended() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resuming = time.Time{}
	r.backlog.begin()
}

// waiting tells who holds a partition that is waited for.
func (r *reporter) waiting(partition, holder string) {
	r.mu.Lock()
	r.held[partition] = holder
	r.mu.Unlock()
	r.enter(Waiting, fmt.Errorf("partition %s is held by %s", partition, holder))
}

// acquired tells that a partition is ours. When no other is waited for, whoever
// held them is gone.
func (r *reporter) acquired(partition string) {
	r.mu.Lock()
	_, waited := r.held[partition]
	delete(r.held, partition)
	over := waited && len(r.held) == 0 && r.st.State == Waiting
	r.mu.Unlock()
	if over {
		r.enter(Streaming, nil)
	}
}

func (r *reporter) acked(t *topic, n int) {
	t.published += uint64(n)
	r.resume(n > 0)
	r.metrics.published.WithLabelValues(t.local).Add(float64(n))
}

// publish takes what the loop knows. It is called by the loop's goroutine.
func (r *reporter) publish(l *loop) {
	if l.state.Poison() == nil {
		r.resume(false)
	}
	events, bytes := l.state.InFlight()
	oldest, _ := l.state.OldestUnpublished()
	r.metrics.inFlightEvents.Set(float64(events))
	r.metrics.inFlightBytes.Set(float64(bytes))
	topics := make([]TopicStatus, len(l.topics))
	var total uint64
	for i := range l.topics {
		topics[i] = TopicStatus{Topic: l.topics[i].local, Published: l.topics[i].published}
		if l.topics[i].codec != nil { // parked is not published
			total += l.topics[i].published
		}
	}
	for _, ln := range l.lanes {
		if s := l.state.Published(ln.id); s.Ordinal > 0 {
			topics[ln.topic].Partitions = append(topics[ln.topic].Partitions,
				PartitionStatus{ln.partition.Index, s.String(), s.Ordinal})
		}
	}
	parked, known := l.state.Parked()
	r.mu.Lock()
	defer r.mu.Unlock()
	if known {
		r.metrics.parked.Set(float64(parked.Events))
		r.st.Parked = nil
		if parked.Events > 0 {
			r.st.Parked = &ParkedStatus{parked.Events, parked.Aggregates, time.UnixMicro(parked.Since)}
		}
	}
	r.st.Confirmed = formatLSN(l.state.Confirmed())
	r.st.InFlightEvents, r.st.InFlightBytes = events, bytes
	r.backlog.read(oldest, l.start.LSN, l.state.Confirmed())
	r.st.Published, r.st.Topics = total, topics
}

func formatLSN(lsn uint64) string { return fmt.Sprintf("%X/%X", lsn>>32, uint32(lsn)) }

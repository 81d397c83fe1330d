package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/wire"
)

// Latency is the time from before an event's COMMIT was sent until a consumer had it, and from
// when COMMIT had returned, by one clock.
type Latency struct {
	System string // systemRunnel or one of the peer
	Broker string // how it is set: see brokers
	Rate   int    // events a second, as they were to be written
	Got    float64
	Events int
	Sent   Quantiles     // since COMMIT was sent
	Done   Quantiles     // since COMMIT had returned; 0 for what was there before
	CPU    time.Duration // of the daemon, per event
}

// Quantiles are of durations.
type Quantiles struct{ P50, P99, P999, Max time.Duration }

func quantiles(all []time.Duration) (q Quantiles) {
	if len(all) == 0 {
		return q
	}
	slices.Sort(all)
	at := func(q float64) time.Duration { return all[min(len(all)-1, int(q*float64(len(all))))] }
	return Quantiles{at(.5), at(.99), at(.999), all[len(all)-1]}
}

const (
	// latencyTime is how long each rate lasts, of which the first part does not count.
	latencyTime = 15 * time.Second
	latencyWarm = 3 * time.Second
	// latencyWriters are the connections that write.
	latencyWriters = 4
	// commitsAtMost is how many transactions a second are written; more events come as
	// several of each.
	commitsAtMost = 1000
)

// latency measures one rate.
func (r *rig) latency(ctx context.Context, system string, rate int) (l Latency, err error) {
	name := fmt.Sprintf("latency_%s_%d", strings.ReplaceAll(system, " ", "_"), rate)
	s, p, err := r.startFor(ctx, system, name)
	if err != nil {
		return l, err
	}
	defer func() {
		if err != nil {
			p.Kill()
		}
	}()
	w, err := newTimed(rate)
	if err != nil {
		return l, err
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	var readers errgroup.Group
	if err := r.readTimed(reading, &readers, name, w); err != nil {
		return l, err
	}
	before, err := usageOf(p.PID())
	if err != nil {
		return l, err
	}
	began := time.Now()
	if err := s.writeTimed(ctx, w); err != nil {
		return l, err
	}
	took := time.Since(began)
	if err := w.await(ctx); err != nil {
		return l, err
	}
	after, err := usageOf(p.PID())
	if err != nil {
		return l, err
	}
	stop()
	if err := readers.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return l, err
	}
	if err := p.stop(ctx); err != nil {
		return l, err
	}
	l = w.result()
	l.System, l.Broker, l.Rate, l.Got, l.CPU = system, r.broker, rate, float64(w.written())/took.Seconds(), (after.CPU-before.CPU)/time.Duration(w.written())
	return l, r.verify(ctx, name, w.written())
}

// startFor starts a system on a database of its own, and waits until it streams.
func (r *rig) startFor(ctx context.Context, system, name string) (s *source, p subject, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("not within a minute"))
	defer cancel()
	if system == systemRunnel {
		if s, err = r.newSource(ctx, name); err != nil {
			return nil, nil, err
		}
		d, err := r.startDaemon(s, name, r.schemas())
		if err != nil {
			return nil, nil, err
		}
		if err := d.await(ctx, func(st status) bool { return st.State == "streaming" }); err != nil {
			d.Kill()
			return nil, nil, err
		}
		return s, d, nil
	}
	if s, err = r.newPeerSource(ctx, name); err != nil {
		return nil, nil, err
	}
	if err := r.preparePeer(ctx, s, name); err != nil {
		return nil, nil, err
	}
	d, err := r.startPeer(s, name, system)
	if err != nil {
		return nil, nil, err
	}
	err = every(ctx, func() (bool, error) {
		if _, err := d.published(ctx); err != nil {
			return false, err
		}
		return value[bool](ctx, s.url, "select active from pg_replication_slots where slot_name = $1", name)
	})
	if err != nil {
		d.Kill()
		return nil, nil, err
	}
	return s, d, nil
}

// timed are events whose times are known, by number.
type timed struct {
	rate, perTx int
	next        atomic.Int64
	sent        []atomic.Int64 // nanoseconds since began
	done        []atomic.Int64
	received    []atomic.Int64 // 0: not yet
	began       time.Time
	all         chan struct{} // closed when want are received
	mu          sync.Mutex    // guards the rest
	got         int64
	want        int64 // -1 while they are written
}

func newTimed(rate int) (*timed, error) {
	n := int(latencyTime.Seconds()*float64(rate)) + rate
	per := max(1, rate/commitsAtMost)
	if rate > commitsAtMost && rate%commitsAtMost != 0 {
		return nil, fmt.Errorf("a rate of %d is no multiple of %d", rate, commitsAtMost)
	}
	return &timed{rate: rate, perTx: per, sent: make([]atomic.Int64, n), done: make([]atomic.Int64, n), received: make([]atomic.Int64, n),
		all: make(chan struct{}), want: -1, began: time.Now()}, nil
}

func (w *timed) written() int { return int(w.next.Load()) }

func (w *timed) receive(k int, at time.Time) error {
	if k >= len(w.received) || !w.received[k].CompareAndSwap(0, int64(at.Sub(w.began))) {
		return fmt.Errorf("void: event %d came twice", k)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.got++; w.got == w.want {
		close(w.all)
	}
	return nil
}

// await waits until everything that was written is received.
func (w *timed) await(ctx context.Context) error {
	w.mu.Lock()
	w.want = w.next.Load()
	if w.got == w.want {
		close(w.all)
	}
	w.mu.Unlock()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	select {
	case <-w.all:
		return nil
	case <-limit.C:
		w.mu.Lock()
		defer w.mu.Unlock()
		return fmt.Errorf("void: %d events of %d were received", w.got, w.want)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// result leaves out the events of the beginning.
func (w *timed) result() (l Latency) {
	var sent, done []time.Duration
	first := w.sent[0].Load()
	for k := range w.written() {
		if began := w.sent[k].Load(); time.Duration(began-first) >= latencyWarm {
			received := w.received[k].Load()
			sent = append(sent, time.Duration(received-began))
			done = append(done, time.Duration(max(0, received-w.done[k].Load())))
		}
	}
	l.Events, l.Sent, l.Done = len(sent), quantiles(sent), quantiles(done)
	return l
}

const insertTimed = `insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, fingerprint, payload)
	select 'order', 'order-' || k % 10000, $3, 1, $4, overlay($5::bytea placing convert_to(lpad(k::text, 12, '0'), 'UTF8') from $6 + 1)
	from generate_series($1::bigint, $2::bigint) k`

// writeTimed writes events at the rate, until the time is over.
func (s *source) writeTimed(ctx context.Context, w *timed) error {
	t, err := newTemplate(s.event, Avro, payloadBytes)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	every := time.Duration(latencyWriters*w.perTx) * time.Second / time.Duration(w.rate)
	for i := range latencyWriters {
		group.Go(func() error {
			db, err := pgx.Connect(ctx, s.url)
			if err != nil {
				return err
			}
			defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
			timer := time.NewTimer(0)
			defer timer.Stop()
			for due := w.began.Add(every * time.Duration(i) / latencyWriters); due.Sub(w.began) < latencyTime; due = due.Add(every) {
				timer.Reset(time.Until(due)) // one that is late does not wait
				select {
				case <-timer.C:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
				if err := s.writeAt(ctx, db, w, t); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// writeAt writes one transaction.
func (s *source) writeAt(ctx context.Context, db *pgx.Conn, w *timed, t template) error {
	first := w.next.Add(int64(w.perTx)) - int64(w.perTx)
	last := first + int64(w.perTx) - 1
	err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, s.insert, first, last, s.event.Name, s.event.Fingerprint[:], t.payload, t.at); err != nil {
			return err
		}
		now := int64(time.Since(w.began)) // COMMIT follows at once
		for k := first; k <= last; k++ {
			w.sent[k].Store(now)
		}
		return nil
	})
	now := int64(time.Since(w.began))
	for k := first; k <= last; k++ {
		w.done[k].Store(now)
	}
	return err
}

// readTimed reads all partitions from their end on.
func (r *rig) readTimed(ctx context.Context, group *errgroup.Group, pipeline string, w *timed) error {
	client, err := r.dial(ctx)
	if err != nil {
		return err
	}
	topic := wire.TopicName(namespace(pipeline), "order")
	n, err := client.Partitions(ctx, topic)
	if err != nil {
		client.Close()
		return err
	}
	var open sync.WaitGroup
	for i := range n {
		reader, err := client.Read(ctx, broker.Partition{Topic: topic, Index: i}, broker.Start{})
		if err != nil {
			client.Close()
			return err
		}
		open.Add(1)
		group.Go(func() error {
			defer open.Done()
			defer reader.Close()
			for {
				m, err := reader.Next(ctx)
				if err != nil {
					return err
				}
				k, err := numberOf(m.Payload)
				if err == nil {
					err = w.receive(k, time.Now())
				}
				if err != nil {
					return err
				}
			}
		})
	}
	go func() { open.Wait(); client.Close() }()
	return nil
}

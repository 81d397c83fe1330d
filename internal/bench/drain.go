package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Drain is one measured drain of a backlog.
type Drain struct {
	System string // one of the systems
	Round  int
	Rate   float64       // rows a second
	CPU    time.Duration // of its process, per row
	Memory int64         // the most, resident, bytes
	First  time.Duration // from the process' start to the first event that was acknowledged
	Allocs float64       // allocations per row; 0: not known
}

// The systems: Runnel; pg_recvlogical, which throws away what it gets; that once more, to show
// what two runs of one thing differ by; and pg_recvlogical of a publication that lets no row
// through, which shows what decoding costs without output.
const (
	systemRunnel  = "runnel"
	systemLimit   = "limit"
	systemControl = "control"
	systemNothing = "nothing"
)

// nothing is the publication that lets no row through.
const nothing = "create publication bench_nothing for table runnel.outbox where (seq < 0) with (publish = 'insert', publish_via_partition_root = true)"

// DrainCase is a backlog, which every system drains anew in every round.
type DrainCase struct {
	Encoding Encoding
	PerTx    int // rows of a transaction
	Rows     int
	Drains   []Drain
}

func (c *DrainCase) name() string { return fmt.Sprintf("drain_%s_%d", c.Encoding, c.PerTx) }

const drainLimit = 10 * time.Minute

// drain makes a backlog and has it drained. Every drain has a slot of its own, from before
// the first row.
func (r *rig) drain(ctx context.Context, c *DrainCase) (err error) {
	name := c.name()
	s, err := r.newSource(ctx, name)
	if err != nil {
		return err
	}
	if err := execute(ctx, s.url, nothing); err != nil {
		return err
	}
	for round := range r.Rounds {
		for _, system := range []string{systemLimit, systemControl, systemNothing} {
			if err := execute(ctx, s.url, fmt.Sprintf("select pg_create_logical_replication_slot('%s_%s_%d', 'pgoutput')", name, system, round)); err != nil {
				return err
			}
		}
		if err := r.prepare(ctx, s, fmt.Sprintf("%s_%d", name, round)); err != nil {
			return err
		}
	}
	var peers *source
	if r.withPeer(c) {
		if peers, err = r.fillPeer(ctx, c); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := s.fill(ctx, c.Encoding, payloadBytes, c.Rows, c.PerTx); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	end, err := value[string](ctx, s.url, "select pg_current_wal_insert_lsn()::text")
	if err != nil {
		return err
	}
	r.Say("%s: %d rows written in %s", name, c.Rows, time.Since(began).Round(time.Millisecond))
	for round := range r.Rounds {
		systems := []string{systemLimit, systemRunnel, systemNothing, systemControl}
		if peers != nil {
			systems = []string{systemLimit, systemRunnel, systemPeer, systemTuned, systemNothing, systemControl}
		}
		if round%2 == 1 {
			slices.Reverse(systems)
		}
		for _, system := range systems {
			// What the writes before have left to do is no part of this.
			if err := execute(ctx, s.url, "checkpoint"); err != nil {
				return err
			}
			d := Drain{System: system, Round: round}
			switch system {
			case systemRunnel:
				err = r.drainRunnel(ctx, s, fmt.Sprintf("%s_%d", name, round), c.Rows, &d)
			case systemPeer, systemTuned:
				err = r.drainPeer(ctx, peers, peerName(c, system, round), c.Rows, &d)
			default:
				publication := "runnel"
				if system == systemNothing {
					publication = "bench_nothing"
				}
				var took, cpu time.Duration
				took, cpu, err = s.receive(ctx, fmt.Sprintf("%s_%s_%d", name, system, round), publication, end)
				d.Rate, d.CPU = float64(c.Rows)/took.Seconds(), cpu/time.Duration(c.Rows)
			}
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", system, round, err)
			}
			r.Say("%s %-8s round %d: %.0f rows/s, %v CPU a row, %d MiB, first after %s", name, system, round, d.Rate, d.CPU, d.Memory>>20, d.First.Round(time.Millisecond))
			c.Drains = append(c.Drains, d)
		}
	}
	return nil
}

// prepare has a pipeline make its slot and its topics.
func (r *rig) prepare(ctx context.Context, s *source, pipeline string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("not within a minute"))
	defer cancel()
	d, err := r.startDaemon(s, pipeline, r.schemas())
	if err != nil {
		return err
	}
	if err := d.await(ctx, func(st status) bool { return st.State == "streaming" }); err != nil {
		d.Kill()
		return err
	}
	for { // else the rows were to be selected, not streamed
		done, err := value[bool](ctx, s.url, "select coalesce(bool_or(snapshot_done), false) from runnel.pipeline where name = $1", pipeline)
		if err != nil || ctx.Err() != nil {
			d.Kill()
			return errors.Join(err, ctx.Err())
		}
		if done {
			return d.stop(ctx)
		}
	}
}

func (r *rig) drainRunnel(ctx context.Context, s *source, pipeline string, rows int, m *Drain) error {
	return r.measure(ctx, pipeline, rows, m, func() (subject, error) { return r.startDaemon(s, pipeline, r.schemas()) })
}

func (r *rig) drainPeer(ctx context.Context, s *source, name string, rows int, m *Drain) error {
	return r.measure(ctx, name, rows, m, func() (subject, error) { return r.startPeer(s, name, m.System) })
}

// subject is a process that publishes.
type subject interface {
	PID() int
	Kill()
	begun() time.Time
	published(ctx context.Context) (events int, err error) // since it began
	stop(ctx context.Context) error
}

// measure starts what publishes so many rows, from the first of them that was published to
// the last, and looks into the topic.
func (r *rig) measure(ctx context.Context, name string, rows int, m *Drain, start func() (subject, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, drainLimit, errors.New("not within "+drainLimit.String()))
	defer cancel()
	p, err := start()
	if err != nil {
		return err
	}
	var first, last usage
	var allocs float64 // at first
	counts, _ := p.(interface {
		allocations(ctx context.Context) (float64, error)
	})
	var firstAt, lastAt time.Time
	firstRows := 0
	err = every(ctx, func() (done bool, err error) {
		n, err := p.published(ctx)
		if err != nil {
			return false, err
		}
		if firstAt.IsZero() && n > 0 {
			firstAt, firstRows = time.Now(), n
			if first, err = usageOf(p.PID()); err != nil {
				return false, err
			}
			if counts != nil {
				if allocs, err = counts.allocations(ctx); err != nil {
					return false, err
				}
			}
		}
		if n < rows {
			return false, nil
		}
		lastAt = time.Now()
		if last, err = usageOf(p.PID()); err != nil || counts == nil {
			return true, err
		}
		now, err := counts.allocations(ctx)
		m.Allocs = now - allocs
		return true, err
	})
	if err != nil {
		p.Kill()
		return err
	}
	if err := p.stop(ctx); err != nil {
		return err
	}
	if firstRows >= rows { // too few to tell
		firstAt, firstRows, first = p.begun(), 0, usage{}
	}
	m.Allocs /= float64(rows - firstRows)
	m.Rate = float64(rows-firstRows) / lastAt.Sub(firstAt).Seconds()
	m.CPU = (last.CPU - first.CPU) / time.Duration(rows-firstRows)
	m.Memory, m.First = last.Memory, firstAt.Sub(p.begun())
	return r.verify(ctx, name, rows)
}

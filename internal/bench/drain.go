package bench

import (
	"context"
	"errors"
	"fmt"
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
}

// The systems: Runnel; pg_recvlogical, which throws away what it gets; and that once more, to
// show what two runs of one thing differ by.
const (
	systemRunnel  = "runnel"
	systemLimit   = "limit"
	systemControl = "control"
)

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
	for round := range r.Rounds {
		for _, system := range []string{systemLimit, systemControl} {
			if err := execute(ctx, s.url, fmt.Sprintf("select pg_create_logical_replication_slot('%s_%s_%d', 'pgoutput')", name, system, round)); err != nil {
				return err
			}
		}
		if err := r.prepare(ctx, s, fmt.Sprintf("%s_%d", name, round)); err != nil {
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
		systems := []string{systemLimit, systemRunnel, systemControl}
		if round%2 == 1 {
			systems = []string{systemControl, systemRunnel, systemLimit}
		}
		for _, system := range systems {
			// What the writes before have left to do is no part of this.
			if err := execute(ctx, s.url, "checkpoint"); err != nil {
				return err
			}
			d := Drain{System: system, Round: round}
			if system == systemRunnel {
				err = r.drainRunnel(ctx, s, fmt.Sprintf("%s_%d", name, round), c.Rows, &d)
			} else {
				var took, cpu time.Duration
				took, cpu, err = s.receive(ctx, fmt.Sprintf("%s_%s_%d", name, system, round), end)
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
	ctx, cancel := context.WithTimeoutCause(ctx, drainLimit, errors.New("not within "+drainLimit.String()))
	defer cancel()
	d, err := r.startDaemon(s, pipeline, r.schemas())
	if err != nil {
		return err
	}
	var first, last usage
	var firstAt, lastAt time.Time
	firstRows := 0
	err = d.await(ctx, func(st status) bool {
		if firstAt.IsZero() && st.Published > 0 {
			firstAt, firstRows = time.Now(), st.Published
			first, err = usageOf(d.PID())
		}
		if st.Published >= rows || err != nil {
			lastAt = time.Now()
			last, err = usageOf(d.PID())
			return true
		}
		return false
	})
	if err != nil {
		d.Kill()
		return err
	}
	if err := d.stop(ctx); err != nil {
		return err
	}
	if firstRows >= rows { // too few to tell
		firstAt, firstRows, first = d.started, 0, usage{}
	}
	m.Rate = float64(rows-firstRows) / lastAt.Sub(firstAt).Seconds()
	m.CPU = (last.CPU - first.CPU) / time.Duration(rows-firstRows)
	m.Memory, m.First = last.Memory, firstAt.Sub(d.started)
	return r.verify(ctx, pipeline, rows)
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Run measures what is wanted.
func Run(ctx context.Context, o Options) (Report, error) {
	rep := Report{Machine: thisMachine(), Began: time.Now(), Rows: o.Rows, Rounds: o.Rounds}
	for i, b := range brokers {
		err := with(ctx, o, b.name, b.settings, func(r *rig) (err error) {
			if rep.Machine.Postgres, rep.Machine.Pulsar, err = r.versions(ctx); err != nil {
				return err
			}
			if i == 0 {
				err = r.loads(ctx, &rep)
			}
			if err == nil {
				err = r.latencies(ctx, &rep)
			}
			return err
		})
		if err != nil {
			return rep, err
		}
	}
	rep.Took = time.Since(rep.Began)
	return rep, nil
}

// with does something with servers of its own.
func with(ctx context.Context, o Options, broker, settings string, do func(*rig) error) (err error) {
	if !o.wantsAny("latency") && settings != "" {
		return nil
	}
	r, err := newRig(ctx, o, broker, settings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close(ctx)) }()
	return do(r)
}

// loads measures what does not depend on how the broker is set.
func (r *rig) loads(ctx context.Context, rep *Report) error {
	for _, enc := range []Encoding{Avro, JSON} {
		for _, per := range []int{10, 1, r.Rows} {
			c := DrainCase{Encoding: enc, PerTx: per, Rows: r.Rows}
			if !r.wants(c.name()) {
				continue
			}
			if err := r.drain(ctx, &c); err != nil {
				return fmt.Errorf("%s: %w", c.name(), err)
			}
			rep.Drains = append(rep.Drains, c)
		}
	}
	for _, properties := range []int{0, 3} {
		if !r.wants(fmt.Sprintf("client_%d", properties)) {
			continue
		}
		c, err := r.client(ctx, properties)
		if err != nil {
			return fmt.Errorf("the client alone: %w", err)
		}
		r.Say("the Go client alone, %d properties: %.0f messages/s, %v CPU a message", properties, c.Rate, c.CPU)
		rep.Clients = append(rep.Clients, c)
	}
	topics, sizes := []int{1, 100}, []int{100_000, 1_000_000}
	if r.Long {
		topics, sizes = append(topics, 1000), append(sizes, 10_000_000)
	}
	for _, n := range topics {
		if !r.wants(fmt.Sprintf("start_%d", n)) {
			continue
		}
		s, err := r.start(ctx, n)
		if err != nil {
			return fmt.Errorf("start with %d topics: %w", n, err)
		}
		r.Say("start with %d topics: %v", n, s.Took)
		rep.Starts = append(rep.Starts, s)
	}
	for _, n := range sizes {
		if !r.wants(fmt.Sprintf("growth_%d", n)) {
			continue
		}
		g, err := r.growth(ctx, n)
		if err != nil {
			return fmt.Errorf("a backlog of %d rows: %w", n, err)
		}
		r.Say("a backlog of %d rows: %v CPU a row, %.0f rows/s, %d MiB", n, g.Drain.CPU, g.Drain.Rate, g.Drain.Memory>>20)
		rep.Growth = append(rep.Growth, g)
	}
	if size := int64(5 << 30); r.Long && r.wants("large") {
		l, err := r.large(ctx, size)
		if err != nil {
			return fmt.Errorf("a transaction of %d bytes: %w", size, err)
		}
		r.Say("a transaction of %d MiB: %.0f rows/s, %d MiB", size>>20, l.Drain.Rate, l.Drain.Memory>>20)
		rep.Large = append(rep.Large, l)
	}
	return nil
}

func (r *rig) latencies(ctx context.Context, rep *Report) error {
	for _, rate := range []int{100, 1000, 5000, 20000} {
		if !r.wants(fmt.Sprintf("latency_%d", rate)) {
			continue
		}
		systems := []string{systemRunnel}
		if r.Peer && (rate == 1000 || rate == 5000) {
			systems = append(systems, systemPeer, systemTuned)
		}
		for _, system := range systems {
			l, err := r.latency(ctx, system, rate)
			if err != nil {
				return fmt.Errorf("latency of %s at %d events/s: %w", system, rate, err)
			}
			r.Say("latency of %s at %d/s (%.0f/s were written), broker %s: p50 %s, p99 %s since COMMIT was sent, %s and %s since it returned, %s CPU an event, of %d",
				system, rate, l.Got, l.Broker, l.Sent.P50, l.Sent.P99, l.Done.P50, l.Done.P99, l.CPU, l.Events)
			rep.Latencies = append(rep.Latencies, l)
		}
	}
	return nil
}

// versions are those of the servers.
func (r *rig) versions(ctx context.Context) (postgres, pulsar string, err error) {
	if postgres, err = value[string](ctx, r.stack.PostgresURL, "select split_part(current_setting('server_version'), ' ', 1)"); err != nil {
		return "", "", err
	}
	client, err := r.dial(ctx)
	if err != nil {
		return "", "", err
	}
	defer client.Close()
	return postgres, strings.TrimLeft(strings.TrimPrefix(client.ServerVersion(), "Pulsar Server"), "-"), nil
}

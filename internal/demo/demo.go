package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/examples/quickstart/fulfilment"
	"github.com/runnel-cdc/runnel/examples/quickstart/orders"
)

// Options say how the demo runs.
type Options struct {
	Out  io.Writer // where it tells what happens; required
	Keep bool      // leave everything running at the end, until ctx ends
	// Duration is how long orders are changed. Default: 15 s.
	Duration time.Duration
	// Binary is the daemon's. Default: this process's own.
	Binary string
	// Servers to use. Those without an address are started.
	Servers Servers
	// PGVersion is the major version of a Postgres that is started. Default:
	// the newest on this machine.
	PGVersion string
}

// Servers are addresses of a superuser.
type Servers struct {
	PostgresURL, PulsarURL, PulsarAdminURL string
}

// drainLimit is how long the last events may take to arrive.
const drainLimit = 60 * time.Second

// Run runs the demo. It returns ErrDoesNotAddUp when what it counted does not
// add up. Whatever it started or created is gone when it returns.
func Run(ctx context.Context, o Options) (err error) {
	if o.Duration <= 0 {
		o.Duration = 15 * time.Second
	}
	if o.Binary == "" {
		if o.Binary, err = os.Executable(); err != nil {
			return err
		}
	}
	d := &demo{Options: o, say: newSpeaker(o.Out)}
	// What was created goes in reverse order, also when ctx has ended.
	defer func() { err = errors.Join(err, d.cleanUp(context.WithoutCancel(ctx))) }()
	if err := d.run(ctx); err != nil {
		if ctx.Err() != nil {
			d.say.line("interrupted, cleaning up")
			return context.Cause(ctx)
		}
		return err
	}
	return nil
}

// demo is one run.
type demo struct {
	Options
	say     *speaker
	undo    []func(context.Context) error
	dir     string // schemas and the daemon's log
	daemon  *daemon
	source  database
	copy    database
	latency *latencies
}

func (d *demo) later(f func(context.Context) error) { d.undo = append(d.undo, f) }

func (d *demo) cleanUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var errs []error
	for i := len(d.undo) - 1; i >= 0; i-- {
		errs = append(errs, d.undo[i](ctx))
	}
	return errors.Join(errs...)
}

func (d *demo) run(ctx context.Context) (err error) {
	if err := d.prepare(ctx); err != nil {
		return err
	}
	sourcePool, err := pgxpool.New(ctx, d.source.serviceURL)
	if err != nil {
		return err
	}
	defer sourcePool.Close()
	copyPool, err := pgxpool.New(ctx, d.copy.serviceURL)
	if err != nil {
		return err
	}
	defer copyPool.Close()

	d.latency = newLatencies()
	projection, err := fulfilment.Projection(consumers.Config{
		Database: copyPool, Namespace: d.namespace(), Logger: d.say.logger(),
		Broker:   consumers.BrokerConfig{URL: d.Servers.PulsarURL, AdminURL: d.Servers.PulsarAdminURL},
		Observer: consumers.Observer{Applied: d.applied},
	})
	if err != nil {
		return err
	}
	copying, stopCopying := context.WithCancel(ctx)
	defer stopCopying()
	copyDone := make(chan error, 1)
	go func() { copyDone <- projection.Run(copying) }()
	defer func() {
		stopCopying()
		err = errors.Join(err, <-copyDone)
	}()

	if err := d.subscribed(ctx, projection, copyDone); err != nil {
		return err
	}
	simulation := &orders.Simulation{DB: sourcePool, Seed: uint64(time.Now().UnixNano()), Publishing: d.latency.committing}
	d.say.heading("Orders are placed, paid, shipped and cancelled for %s; every tenth or so is rolled back.", d.Duration)
	working, stopWorking := context.WithTimeout(ctx, d.Duration)
	defer stopWorking()
	worked := make(chan error, 1)
	go func() { worked <- simulation.Run(working) }()
	select {
	case err := <-worked:
		if err != nil {
			return fmt.Errorf("the orders service: %w", err)
		}
	case err := <-copyDone:
		copyDone <- nil // for the deferred wait
		stopWorking()
		return errors.Join(fmt.Errorf("the fulfilment service ended: %w", err), <-worked)
	case <-d.daemon.Done():
		stopWorking()
		return errors.Join(fmt.Errorf("the daemon: %w", d.daemon.ended()), <-worked)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.drain(ctx, copyPool); err != nil {
		return err
	}
	if err := d.verdict(ctx, simulation, sourcePool, copyPool); err != nil || !d.Keep {
		return err
	}
	return d.keep(ctx)
}

// subscribed waits until the copy is connected to every partition.
func (d *demo) subscribed(ctx context.Context, p *consumers.Projection, done chan error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			done <- nil // for the deferred wait
			return fmt.Errorf("the fulfilment service ended: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("the fulfilment service does not connect: %w", ctx.Err())
		case <-tick.C:
		}
		all := p.Status()
		if len(all) > 0 && !slices.ContainsFunc(all, func(s consumers.PartitionStatus) bool { return !s.Connected }) {
			return nil
		}
	}
}

// applied streams what the copy receives, a few lines a second.
func (d *demo) applied(a consumers.Applied) {
	took, known := d.latency.applied(a.Message.ID, a.At)
	if known {
		d.say.event(a.Message, took)
	}
}

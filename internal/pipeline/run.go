package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgfault"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/router"
	"github.com/runnel-cdc/runnel/schemas"
)

// batchesAhead is how many batches may be read before the loop takes them.
const batchesAhead = 8

// maxPending is how many messages one partition's producer may hold. More would
// not be faster: it is 80 ms of 100,000 events a second.
const maxPending = 8192

// run is one attempt.
type run struct {
	cfg     Config
	routes  *router.Routes
	log     *slog.Logger
	report  *reporter
	foreign broker.Foreign
	holder  string // who streamed from the slot when this run provisioned; "": nobody
	newer   string // how the outbox is newer than this daemon; "": it is not

	client   *broker.Pulsar
	registry *schemas.Registry
	topics   []topic
	letters  bool             // the last of them is the dead-letter topic
	gone     map[string]error // topics that were published to and are not there, by local name
	tried    map[string]time.Time
	source   *capture.Source
	progress *capture.Progress
	repairs  bool            // and does not stream
	life     context.Context // of the run
	catalog  *schemas.Catalog
	prepared string        // see preparedHash
	doubt    bool          // the last run found that not all is in order
	familiar bool          // see isFamiliar
	fence    *fence        // nil until the slot is ours
	saved    capture.Saved // progress when the run began
	held     atomic.Pointer[capture.Held]
}

// run prepares, streams until the first error or until ctx ends, and cleans up.
func (r *run) run(ctx context.Context) error {
	defer r.close()
	ctx, end := context.WithCancel(ctx)
	defer end()
	r.life = ctx
	if err := r.whileAnswered(ctx, r.prepare); err != nil {
		if ctx.Err() != nil {
			return nil // nothing was begun
		}
		return err
	}
	return r.stream(ctx)
}

// published reports, after the run, whether anything was acknowledged in it.
func (r *run) published() bool {
	return slices.ContainsFunc(r.topics, func(t topic) bool { return t.published > 0 })
}

func (r *run) close() {
	if r.progress != nil {
		r.progress.Close()
	}
	if r.source != nil {
		r.source.Close()
	}
	if r.client != nil {
		r.client.Close()
	}
}

// prepare connects, creates what may be created, and checks everything that can
// be checked before the slot is taken.
func (r *run) prepare(ctx context.Context) error {
	catalog, err := wire.Catalog(r.cfg.Schemas)
	if err == nil {
		err = r.open(ctx, catalog)
	}
	if err == nil {
		err = r.settleHistory(ctx)
	}
	if err != nil {
		return err
	}
	if r.familiar {
		return nil // lookAtTopics does
	}
	return r.registerEventTypes(ctx, catalog)
}

// open is prepare but for what is written to say that all is well.
func (r *run) open(ctx context.Context, catalog *schemas.Catalog) error {
	if len(catalog.Events()) == 0 {
		return ErrNoEvents.New("%s holds no record with the property \"aggregate\"", r.cfg.Schemas)
	}
	address, err := r.cfg.Postgres()
	if err != nil {
		return err
	}
	settings := r.cfg.Broker
	// The router bounds the bytes in flight, over all partitions.
	settings.MaxPending, settings.MaxPendingBytes = maxPending, math.MaxInt64
	settings.FirstHost = true
	if r.client, err = broker.Dial(ctx, settings); err != nil {
		return err
	}
	r.registry = schemas.NewRegistry(r.client.AdminURL(), r.client.HTTP())
	r.catalog = catalog
	if r.prepared, err = r.preparedHash(catalog); err != nil {
		return err
	}
	if r.life == nil { // a command, whose context is that of its life
		r.life = ctx
	}
	r.familiar = !r.doubt && !r.repairs && r.isFamiliar(ctx)
	if r.cfg.AutoApply && !r.familiar {
		if err := r.provision(ctx, catalog); err != nil {
			return err
		}
	}
	if err := r.checkNamespace(ctx); err != nil {
		return err
	}
	if err = r.loadTopics(ctx, catalog); err != nil {
		return err
	}
	source := capture.Config{
		URL: address, Pipeline: r.cfg.Name, Slot: r.cfg.Slot, Publication: r.cfg.Publication,
		Published: r.anythingPublished, Repair: r.repairs, Logger: r.log, Held: r.heldNow,
	}
	if r.source, err = capture.Open(ctx, source); err != nil {
		return err
	}
	if err := r.checkOutbox(ctx); err != nil {
		return err
	}
	if r.progress, err = capture.NewProgress(ctx, source); err != nil {
		return err
	}
	r.saved, err = r.progress.Load(ctx)
	return err
}

// registerEventTypes lets writers know what may be published: with AutoApply alone, as
// it is an apply's to do otherwise. A type that was retired is not let in again by a
// daemon that has an older catalog.
func (r *run) registerEventTypes(ctx context.Context, catalog *schemas.Catalog) error {
	if !r.cfg.AutoApply {
		return nil
	}
	retired := func(e *schemas.EventType) bool {
		name := r.routes.Explain(e.AggregateType, e.Name).Topic
		for i := range r.topics { // by index: the loop writes other fields
			if t := &r.topics[i]; t.local == name && slices.Contains(t.retired, e.Name) {
				return true
			}
		}
		return false
	}
	types := slices.DeleteFunc(slices.Clone(catalog.Events()), retired)
	db, err := r.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	_, err = outbox.RegisterEventTypes(ctx, db, types)
	return err
}

// stream runs the attempt's goroutines. They end in this order: the loop stops
// reading and waits for acknowledgements; then the source tells Postgres the
// last confirmation and gives the slot up; then progress is saved once more.
func (r *run) stream(ctx context.Context) error {
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	soft, stop := context.WithCancel(ctx)
	defer stop()

	batches := make(chan *router.Batch, batchesAhead)
	helpers, helperCtx := errgroup.WithContext(hard)
	l := r.newLoop(batches, helpers)

	var sourceErr error
	sourceDone := make(chan struct{})
	go func() {
		defer close(sourceDone)
		defer stop() // without a source there is nothing to loop for
		sourceErr = r.source.Run(hard, batches)
	}()
	for _, helper := range []func(context.Context) error{
		r.lookAtTopics, r.auditAndSave, func(ctx context.Context) error { return r.pollLimits(ctx, l) }, r.pollLag, r.keepHouse,
	} {
		helpers.Go(func() error {
			err := helper(helperCtx)
			if err != nil && helperCtx.Err() == nil {
				l.mail.fail(err)
			}
			return err
		})
	}
	helpers.Go(func() error {
		select {
		case <-r.source.Started():
			r.report.streaming()
			r.log.Info("streaming", "slot", r.source.Slot(), "from", formatLSN(r.source.StartLSN()), "topics", len(r.topics))
			if r.newer != "" {
				r.log.Warn("this daemon is older than the outbox: replace it", "reason", r.newer)
			}
		case <-helperCtx.Done():
		}
		return nil
	})

	loopErr := l.run(soft)
	stop() // what is still acquired, and asks by the fence
	if r.fence != nil {
		r.fence.Close() // after the partitions: whoever has it may publish to them
	}
	cancel()
	<-sourceDone
	helpersErr := helpers.Wait()
	return first(loopErr, sourceErr, helpersErr)
}

// first returns the error that ended the run: the loop's, else the source's.
// What comes of cancelling the others is none.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return nil
}

func (r *run) newLoop(batches <-chan *router.Batch, helpers *errgroup.Group) *loop {
	start := r.source.At(r.source.StartLSN())
	var (
		name  = r.producerName()
		sized outgoing
	)
	cfg := router.Config{Start: start, Gone: r.gone, DeadLetters: r.deadLetters(), Epoch: r.source.Epoch(), MaxBytes: r.cfg.InFlight, CheckSize: func(m *router.Send, limit int) error {
		return broker.CheckSize(sized.of(m, nil), name, limit)
	}}
	for _, t := range r.topics { // nothing else runs yet
		cfg.Topics = append(cfg.Topics, router.Topic{Name: t.local, Partitions: t.partitions, Codec: t.codec})
	}
	l := &loop{
		log: r.log, state: router.New(cfg), source: r.source, client: r.client, topics: r.topics,
		start: start, history: eras(r.source.Eras()), name: r.producerName(), readWALEnd: r.walEnd, stall: r.cfg.Stall, report: r.report,
		batches: batches, resized: make(chan resize), mail: newMailbox(), group: helpers,
		slots: make(chan struct{}, acquireAtOnce), schemas: make(map[*schemas.TopicSchema]*broker.Schema),
		held: &r.held, covered: r.progress.Saved(), trims: r.cfg.Retention > 0,
		saved: make(map[broker.Partition]capture.PartitionTail, len(r.saved.Tails)), foreign: r.foreign, pipeline: r.cfg.Name,
	}
	for _, t := range r.saved.Tails {
		l.saved[broker.Partition{Topic: t.Topic, Index: t.Partition}] = t
	}
	l.makeLanes()
	l.onSlot = func(ctx, hard context.Context) error {
		if err := r.takeHistory(ctx, hard, l); err != nil {
			return err
		}
		if err := r.recordPartitions(ctx); err != nil {
			return err
		}
		routes, err := r.takeRoutes(ctx, r.fence)
		if err != nil {
			return err
		}
		l.state.UseGenerations(routes)
		return r.takeDeadLetters(ctx, hard, l)
	}
	return l
}

// auditAndSave audits the start, and from then on keeps what is confirmed in the
// source database. The order matters: a row that is missing would be taken for
// confirmed by the next audit once progress were saved over it.
func (r *run) auditAndSave(ctx context.Context) error {
	if err := r.whileAnswered(ctx, r.auditStart); err != nil || ctx.Err() != nil {
		return err
	}
	return r.progress.Run(ctx, r.source.Confirmed, func() []capture.PartitionTail { return r.heldNow().Tails })
}

// heldNow is what the loop has said last.
func (r *run) heldNow() capture.Held {
	if held := r.held.Load(); held != nil {
		return *held
	}
	return capture.Held{}
}

// keepHouse makes and drops outbox partitions.
func (r *run) keepHouse(ctx context.Context) error {
	h := &outbox.Housekeeper{Connect: r.connect, Retention: r.cfg.OutboxRetention, Logger: r.log}
	return h.Run(ctx)
}

// connect opens a connection to the source database, with the password and the
// certificates as they are now.
func (r *run) connect(ctx context.Context) (*pgx.Conn, error) {
	address, err := r.cfg.Postgres()
	if err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, fmt.Errorf("connect to the source database: %w", redact(err))
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectLimit // or a server that accepts and never answers were waited for without end
	}
	db, err := pgx.ConnectConfig(ctx, config)
	if err != nil && ctx.Err() == nil && pgconn.Timeout(err) {
		return nil, capture.ErrUnreachable.Wrap(pgfault.Root(err), "it does not answer")
	}
	if err != nil {
		return nil, fmt.Errorf("connect to the source database: %w", redact(err))
	}
	return db, nil
}

// walEnd reads the end of the server's WAL.
func (r *run) walEnd(ctx context.Context) (uint64, error) {
	db, err := r.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	slot, err := capture.ReadSlot(ctx, db, r.source.Slot())
	return slot.CurrentLSN, err
}

// redact drops what a connection error may quote of the address.
func redact(err error) error {
	var parse *pgconn.ParseConfigError
	if errors.As(err, &parse) {
		return errors.New("the source database's address is not a Postgres URL")
	}
	return err
}

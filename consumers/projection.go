package consumers

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/readerinfo"
	"github.com/runnel-cdc/runnel/schemas"
)

// Projection keeps a local copy. Make it with New, register handlers with
// Handle or HandleBatch, then Run it. Several instances of one projection, in
// one process or many, share the partitions among them.
type Projection struct {
	cfg     Config
	db      database // of Config.Database
	log     *slog.Logger
	sleep   sleeper                               // replaced in tests
	now     func() time.Time                      // replaced in tests
	silence time.Duration                         // after which a silent subscription is looked after; shorter in tests
	waiting func(broker.Partition, time.Duration) // see receiver.waiting; nil: nobody is told
	breaker breaker                               // of all partitions
	state   copyState                             // when Run began
	foreign broker.Foreign                        // of Config.Foreign

	histories histories // of the pipelines that publish to the topics

	mu       sync.Mutex
	started  bool // handlers are fixed
	running  bool
	mistakes []error
	handlers map[string]*handler // by event type
	batch    func(context.Context, pgx.Tx, []Message) error
	statuses []*status
}

// handler takes one event type.
type handler struct {
	event *schemas.EventType
	call  func(context.Context, pgx.Tx, Message) error
}

// New makes a projection. It checks cfg and connects to nothing. Errors match
// ErrConfig.
func New(cfg Config) (*Projection, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	listed, err := parseForeign("Foreign", cfg.Foreign)
	if err != nil {
		return nil, err
	}
	cfg.Topics = slices.Clone(cfg.Topics)
	p := &Projection{
		cfg:      cfg,
		db:       pooled{cfg.Database},
		log:      cfg.Logger.With(keyProjection, cfg.Name),
		sleep:    sleep,
		now:      time.Now,
		silence:  silentFirst,
		foreign:  listed,
		handlers: make(map[string]*handler),
	}
	if cfg.Broker.hooks != nil {
		p.hook(cfg.Broker.hooks)
	}
	return p, nil
}

// Handle registers h for the event type T, a generated struct type. Mistakes
// (T twice, T is a pointer, Run was called) are reported by Run.
//
// h is called in the order of the partition, with a transaction in which
// unqualified names lead to the projection's schema, then to public. What h
// writes through it and the position become durable together, or not at all.
// h must not end the transaction, and should leave no other traces: after an
// error, a crash or a lost connection the event comes again. Partitions are
// handled concurrently. What h publishes with package outbox, with its context and
// transaction, names the event as its cause: see Message.Context.
//
// A nil error means applied. Discard passes the event over, RetryAfter says
// when to try again, and any other error is retried as Config.Retry says; then
// the event is parked: a row beside the copy, with later events of its key
// behind it, until a person retries or discards it. A panic counts as an error.
// Events of types without a handler are passed over and counted.
func Handle[T schemas.Payload](p *Projection, h func(context.Context, pgx.Tx, Event[T]) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var zero T
	kind := reflect.TypeFor[T]()
	_, decodes := any(&zero).(schemas.Decoder)
	switch {
	case p.started:
		p.mistake("Handle[%s] was called after Run", kind)
		return
	case kind.Kind() != reflect.Struct || !decodes:
		p.mistake("Handle[%s]: not a generated event type; give the struct type itself, not a pointer", kind)
		return
	case h == nil:
		p.mistake("Handle[%s]: the handler is nil", kind)
		return
	case p.batch != nil:
		p.mistake("Handle[%s] was called beside HandleBatch", kind)
		return
	}
	event := zero.EventType()
	if p.handlers[event.Name] != nil {
		p.mistake("Handle[%s]: event type %s has a handler already", kind, event.Name)
		return
	}
	p.handlers[event.Name] = &handler{event: event, call: func(ctx context.Context, tx pgx.Tx, m Message) error {
		e := Event[T]{Message: m}
		if err := m.Decode(&e.Payload); err != nil {
			return err
		}
		return h(m.Context(ctx), tx, e)
	}}
}

// HandleBatch registers h for all event types, in place of Handle: it gets the
// new messages of one partition, 1 to Config.BatchSize, in order, and decodes
// what it wants with Message.Decode. The rules of Handle hold. When a batch
// fails, its messages come one by one, so that Discard and retries concern the
// one that fails.
func HandleBatch(p *Projection, h func(context.Context, pgx.Tx, []Message) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.started:
		p.mistake("HandleBatch was called after Run")
	case h == nil:
		p.mistake("HandleBatch: the handler is nil")
	case p.batch != nil:
		p.mistake("HandleBatch was called twice")
	case len(p.handlers) > 0:
		p.mistake("HandleBatch was called beside Handle")
	case len(p.cfg.Topics) == 0:
		p.mistake("HandleBatch needs Config.Topics")
	default:
		p.batch = h
	}
}

func (p *Projection) mistake(format string, args ...any) {
	p.mistakes = append(p.mistakes, ErrRegistration.New(format, args...))
}

// begin fixes the handlers and returns the topics' full names.
func (p *Projection) begin() ([]string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running {
		return nil, ErrRunning.New("projection %s", p.cfg.Name)
	}
	full, err := p.topics()
	if err != nil {
		return nil, err
	}
	p.started, p.running, p.statuses = true, true, nil
	return full, nil
}

// topics returns the topics' full names, or what was wrong with registering. p.mu
// is held.
func (p *Projection) topics() ([]string, error) {
	if len(p.handlers) == 0 && p.batch == nil && len(p.mistakes) == 0 {
		p.mistake("projection %s has no handler", p.cfg.Name)
	}
	if len(p.mistakes) > 0 {
		return nil, errors.Join(p.mistakes...)
	}
	topics := p.cfg.Topics
	if len(topics) == 0 {
		unique := make(map[string]bool)
		for _, h := range p.handlers {
			unique[h.event.AggregateType] = true
		}
		topics = slices.Sorted(maps.Keys(unique))
	}
	return topicNames(p.cfg.Namespace, topics)
}

// reader tells the broker which versions of which events the handlers were built
// with; who plans a change of a schema asks for it. Handlers are fixed.
func (p *Projection) reader() readerinfo.Info {
	info := readerinfo.Info{Name: p.cfg.Name, Version: p.cfg.Version}
	if p.batch == nil {
		info.Reads = make(map[string]schemas.Fingerprint, len(p.handlers))
		for name, h := range p.handlers {
			info.Reads[name] = h.event.Fingerprint
		}
	}
	return info
}

// end is the counterpart of begin.
func (p *Projection) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = false
}

// Run applies events until ctx ends, and then returns nil; what was being
// applied is rolled back or committed, and comes again if need be. It returns
// at once on mistakes of registration or configuration, and later when
// something needs a person: ErrGap, ErrForeignMessage, ErrVersion and the like.
//
// A database or broker that is down, and topics that are not there yet, are
// waited for. Run may be called again after it returned.
func (p *Projection) Run(ctx context.Context) error {
	topics, err := p.begin()
	if err != nil {
		return err
	}
	defer p.end()
	link := p.cfg.Broker
	link.reader = p.reader()
	client, registry, err := link.open(ctx, p.sleep)
	if err != nil {
		return ended(ctx, err)
	}
	defer client.Close()

	if err := p.setupWaiting(ctx, topics); err != nil {
		if err = ended(ctx, err); err != nil {
			p.log.Error("the projection does not start", explain(err)...)
		}
		return err
	}
	p.log.Info("the projection starts", keyVersion, p.cfg.Version, "topics", topics)
	codec := newCodec(registry)
	group, inner := errgroup.WithContext(ctx)
	if p.state == building {
		group.Go(func() error { return p.build(inner, client, topics) })
	}
	for _, topic := range topics {
		group.Go(func() error {
			count, err := waitPartitions(inner, client, topic, p.log, p.sleep)
			if err != nil {
				return err
			}
			if err := p.describePartitions(inner, topic, count); err != nil {
				return err
			}
			for i := range count {
				w := p.worker(client, codec, broker.Partition{Topic: topic, Index: i})
				group.Go(func() error { return w.run(inner) })
			}
			return nil
		})
	}
	return ended(ctx, group.Wait())
}

// ended turns the end of ctx into a clean one.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && fault.Find(err) == nil {
		return nil
	}
	return err
}

// setupWaiting prepares the database, waiting while it is down.
func (p *Projection) setupWaiting(ctx context.Context, topics []string) error {
	return p.untilUp(ctx, "setting up the projection's database", func(ctx context.Context) error { return p.setup(ctx, topics) })
}

// untilUp does something with the database, waiting while it is down.
func (p *Projection) untilUp(ctx context.Context, what string, do func(context.Context) error) error {
	wait := outage{what: what, log: p.log, sleep: p.sleep}
	for {
		err := do(ctx)
		if err == nil {
			wait.over()
			return nil
		}
		if fault.Find(err) != nil || !unreachable(err) && classify(ctx, err, false) == failed {
			return err
		}
		if err := wait.wait(ctx, err); err != nil {
			return err
		}
	}
}

// waitPartitions returns the number of a topic's partitions, fixed for life,
// waiting for the topic and the broker to be there.
func waitPartitions(ctx context.Context, client broker.Client, topic string, log *slog.Logger, sleep sleeper) (int, error) {
	wait := outage{what: "looking up topic " + topic, log: log, sleep: sleep}
	for {
		count, err := client.Partitions(ctx, topic)
		switch {
		case err == nil && count == 0:
			return 0, ErrTopic.New("topic %s is not partitioned", topic)
		case err == nil:
			wait.over()
			return count, nil
		}
		if err := wait.wait(ctx, err); err != nil {
			return 0, err
		}
	}
}

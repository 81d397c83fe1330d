package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/broker/memory"
	"github.com/runnel-cdc/runnel/internal/history"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/router"
	"github.com/runnel-cdc/runnel/schemas"
)

// testStall is Stall of these runs. Time is synctest's: it passes when all wait.
const testStall = time.Minute

// course is topics in a broker in memory, and what a slot would know.
type course struct {
	t         *testing.T
	broker    *memory.Broker
	partition broker.Partition // the first
	topics    []topic
	confirmed atomic.Uint64       // what the slot has been told
	routing   []router.Generation // none: each event to the topic that is called as its type
}

// courseTopics are the topics, and the event types of each are called as they are.
var courseTopics = []string{"order", "invoice"}

// newCourse makes topics with so many partitions, one of one if none is told.
func newCourse(t *testing.T, partitions ...int) *course {
	t.Helper()
	if len(partitions) == 0 {
		partitions = []int{1}
	}
	c := &course{t: t, broker: memory.New()}
	_, err := c.broker.EnsureNamespace(t.Context(), "public/runnel", broker.NamespacePolicy{})
	c.must(err)
	var types []*schemas.EventType
	for _, name := range courseTopics {
		e, err := schemas.ParseEventType(`{"type":"record","name":"` + name + `","aggregate":"` + name + `","fields":[{"name":"id","type":"string"}]}`)
		c.must(err)
		types = append(types, e)
	}
	for i, n := range partitions {
		local := courseTopics[i]
		full := "persistent://public/runnel/" + local
		composed, err := schemas.Compose(local, types, nil)
		c.must(err)
		_, err = c.broker.EnsureTopic(t.Context(), full, n, nil)
		c.must(err)
		s, err := c.broker.RegisterSchema(full, composed.Name, composed.JSON)
		c.must(err)
		registered, err := schemas.ParseTopicSchema(s.JSON, s.Version)
		c.must(err)
		codec, err := schemas.NewTopicCodec([]*schemas.TopicSchema{registered})
		c.must(err)
		c.topics = append(c.topics, topic{local: local, full: full, partitions: n, codec: &liveCodec{known: codec}, newest: brokerSchema(registered)})
	}
	_, err = c.broker.EnsureTopic(t.Context(), fenceTopic, 1, nil)
	c.must(err)
	c.partition = broker.Partition{Topic: c.topics[0].full}
	return c
}

// fence makes a connection the one that may publish.
func (c *course) fence(conn *memory.Conn) *fence {
	p := broker.Partition{Topic: fenceTopic}
	producer, tail, err := conn.Acquire(c.t.Context(), broker.AcquireRequest{Partition: p, Producer: "runnel-test", Replayed: position.Beyond}, func(string) {})
	c.must(err)
	f := &fence{Producer: producer, client: conn, topic: p, at: tail.Last, next: tail.Stamp.Ordinal + 1}
	if record := (history.Record{Eras: []history.Era{history.NewEra(1, "7", 1, 0, 0)}}); tail.Stamp.Ordinal == 0 {
		c.must(f.write(c.t.Context(), record))
	} else {
		f.last = &record
	}
	return f
}

const fenceTopic = "persistent://public/runnel/runnel-history-test"

// attempt is a run's loop.
type attempt struct {
	c     *course
	conn  *memory.Conn
	loop  *loop
	lost  atomic.Bool // the slot is another's: what is confirmed does not arrive
	feed  chan *router.Batch
	stop  context.CancelFunc // a shutdown
	ended chan struct{}
	err   error
}

// Confirm makes it the loop's source.
func (a *attempt) Confirm(lsn uint64) {
	if !a.lost.Load() {
		a.c.confirmed.Store(lsn)
	}
}

// start begins a run where the slot is.
func (c *course) start() *attempt {
	c.t.Helper()
	routes, err := router.NewRoutes(nil)
	if err != nil {
		c.t.Fatal(err)
	}
	start := position.Position{Epoch: 1, LSN: c.confirmed.Load()}
	a := &attempt{c: c, conn: c.broker.Connect("daemon"), feed: make(chan *router.Batch), ended: make(chan struct{})}
	config := router.Config{Routes: routes, Start: start}
	for _, t := range c.topics {
		config.Topics = append(config.Topics, router.Topic{Name: t.local, Partitions: t.partitions, Codec: t.codec})
	}
	a.loop = &loop{
		state: router.New(config), source: a, client: a.conn, start: start, name: "runnel-test", stall: testStall,
		topics: append([]topic(nil), c.topics...),
		report: newReporter(Config{Name: "test"}), batches: a.feed, resized: make(chan resize),
		mail: newMailbox(), held: new(atomic.Pointer[capture.Held]), covered: make(chan struct{}), slots: make(chan struct{}, acquireAtOnce),
		schemas:    make(map[*schemas.TopicSchema]*broker.Schema),
		readWALEnd: func(context.Context) (uint64, error) { return 1 << 40, nil },
	}
	if len(c.routing) > 0 {
		a.loop.state.UseGenerations(c.routing)
		a.loop.check = c.fence(a.conn).check
	}
	a.loop.makeLanes()
	ctx, stop := context.WithCancel(c.t.Context())
	a.stop = stop
	helpers := new(errgroup.Group)
	a.loop.group = helpers
	go func() {
		defer close(a.ended)
		a.err = a.loop.run(ctx)
		stop() // ends what acquires, as the end of a run does
		_ = helpers.Wait()
		a.loop.client.Close()
	}()
	return a
}

// commit gives the loop events from the n-th to the last: the n-th is committed at
// LSN 10n, and ends at 10n+5.
func (a *attempt) commit(n, last int) {
	for ; n <= last; n++ {
		at := position.Position{Epoch: 1, LSN: uint64(10 * n)}
		row := router.Event{
			Position: at, ID: [16]byte{14: byte(n >> 8), 15: byte(n)}, AggregateType: []byte("order"), AggregateID: []byte("k"),
			Type: []byte("order"), Encoding: router.JSON, Payload: fmt.Appendf(nil, `{"id":"%d"}`, n), OccurredAt: int64(n),
		}
		b := &router.Batch{Inputs: []router.Input{
			{Kind: router.Begin, Transaction: router.Transaction{Position: at, Committed: time.Now().UnixMicro()}},
			{Kind: router.Row, Event: row}, {Kind: router.Commit, LSN: uint64(10*n + 5)},
		}}
		select {
		case a.feed <- b:
		case <-a.ended:
			return
		}
	}
}

// replay gives the loop what a slot gives from the confirmed LSN on.
func (a *attempt) replay(last int) { a.commit(int(a.c.confirmed.Load()/10)+1, last) }

// wait returns how the run ended, and how long that took.
func (a *attempt) wait() (time.Duration, error) {
	began := time.Now()
	<-a.ended
	return time.Since(began), a.err
}

// holds requires that the topic holds the first n events, each once, in order,
// and that the slot has been told so.
func (c *course) holds(n int) {
	c.t.Helper()
	synctest.Wait()
	all, err := c.broker.Messages(c.partition)
	if err != nil {
		c.t.Fatal(err)
	}
	if len(all) != n {
		c.t.Errorf("the topic holds %d events, want %d", len(all), n)
	}
	for i, m := range all {
		if s, err := m.Stamp(); err != nil || s.LSN != uint64(10*(i+1)) || s.Ordinal != uint64(i+1) {
			c.t.Fatalf("event %d is at %s (%v)", i+1, s, err)
		}
	}
	if got := c.confirmed.Load(); got != uint64(10*n+5) {
		c.t.Errorf("confirmed up to %d, want all %d events", got, n)
	}
}

func (c *course) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// stalled requires that a run ended with BROKER_STALLED, which the next one may
// put right, within a time.
func (a *attempt) stalled(says string, within time.Duration) {
	t := a.c.t
	t.Helper()
	took, err := a.wait()
	if !errors.Is(err, ErrStalled) || halts(err) || !strings.Contains(err.Error(), says) {
		t.Fatalf("%v; want BROKER_STALLED with %q", err, says)
	}
	if took > within {
		t.Errorf("it took %s", took)
	}
}

package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/devstack/stacktest"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/testserver"
)

// outages plays faults of the servers behind the broker, with a daemon under load.
type outages struct {
	t       *testing.T
	w       *world
	cluster *devstack.Cluster
	daemon  *process
	next    int // number of the next event
	samples []sample
	durable map[int]position.Position // the last of each partition that the daemon has told
}

// outage is one fault of them.
type outage struct {
	name       string
	begin, end func() error
	lasts      time.Duration
	through    bool // events pass all the while
	blocked    bool // nothing passes
}

// sample is what the slot had confirmed, and what the daemon told to be durable a moment
// later.
type sample struct {
	taken     time.Time
	confirmed uint64
	durable   map[int]position.Position // nil: not known yet
}

// A sample is taken so often, and what is durable is in the daemon's status by then.
const (
	sampling = time.Second
	settled  = 2500 * time.Millisecond
)

// TestBookies: whatever fails behind the broker, the daemon goes on by itself, and each
// event is published once, in order: one bookie of several, a bookie that does not answer,
// too many bookies for the quorum, the metadata service. Events are written all the while.
//
// An entry is on three bookies, and acknowledged by two. With a fourth, the loss of one is
// an ensemble change; without, BookKeeper closes the ledger and can make no other, though
// two could still acknowledge: the topics wait until the third is back.
func TestBookies(t *testing.T) {
	o := newOutages(t, 0)
	c := o.cluster
	spare := len(c.Bookies) > 3 // another takes the place of one that fails
	zoo, first, second, most := c.ZooKeeper, c.Bookies[0], c.Bookies[1], c.Bookies[1:]
	for _, f := range []outage{
		{name: "29 a bookie killed", lasts: 25 * time.Second, through: spare, blocked: !spare,
			begin: each(kill, first), end: each(start, first)},
		{name: "30 a bookie does not answer", lasts: 5 * time.Second, through: true,
			begin: each(pause, second), end: each(resume, second)},
		{name: "30 a disk does not answer", lasts: 40 * time.Second, through: spare,
			begin: each(hold, second), end: each(free, second)},
		{name: "31 all bookies but one killed", lasts: 20 * time.Second, blocked: true,
			begin: each(kill, most...), end: each(start, most...)},
		{name: "31 all disks but one do not answer", lasts: 70 * time.Second, blocked: true,
			begin: each(hold, most...), end: each(free, most...)},
		// Bookies are not started again after these: one of Pulsar 4.0.8 whose session with
		// ZooKeeper was lost may take its own former registration for somebody else's, and
		// then nothing new can be made.
		{name: "32 ZooKeeper killed", lasts: 20 * time.Second, through: true,
			begin: each(kill, zoo), end: each(start, zoo)},
		{name: "32 ZooKeeper does not answer", lasts: 20 * time.Second, through: true,
			begin: each(pause, zoo), end: each(resume, zoo)},
	} {
		if !t.Run(f.name, func(t *testing.T) { o.in(t).play(f) }) {
			break
		}
	}
}

// TestLedgerLeftOpen: a quorum of bookies and the metadata service fail at once, so that the
// broker gives adds up and can't close their ledger. The bookies have them all the same, or
// get them late: they are in the topic in the end, each once.
//
// Bookies of Pulsar 4.0.8 whose session with ZooKeeper is lost may stay unregistered until
// they are started again, so it outlasts the outage here.
func TestLedgerLeftOpen(t *testing.T) {
	o := newOutages(t, 3*time.Minute)
	zoo, most := o.cluster.ZooKeeper, o.cluster.Bookies[1:]
	for _, f := range []outage{
		{name: "31 and 32 disks do not answer, ZooKeeper killed", lasts: 70 * time.Second, blocked: true,
			begin: inTurn(each(hold, most...), each(kill, zoo)), end: inTurn(each(start, zoo), each(free, most...))},
		{name: "31 and 32 bookies do not answer, ZooKeeper killed", lasts: 70 * time.Second, blocked: true,
			begin: inTurn(each(kill, zoo), each(pause, most...)), end: inTurn(each(start, zoo), each(resume, most...))},
	} {
		if !t.Run(f.name, func(t *testing.T) { o.in(t).play(f) }) {
			break
		}
	}
}

// What is done to a server.
var (
	kill, pause, resume = (*devstack.Member).Kill, (*devstack.Member).Pause, (*devstack.Member).Resume
	hold, free          = (*devstack.Member).HoldDisk, (*devstack.Member).FreeDisk
)

func start(m *devstack.Member) error { return m.Start(context.Background()) }

// each does it to all at once.
func each(act func(*devstack.Member) error, all ...*devstack.Member) func() error {
	return func() error {
		var group errgroup.Group
		for _, m := range all {
			group.Go(func() error { return act(m) })
		}
		return group.Wait()
	}
}

// inTurn does one after the other.
func inTurn(all ...func() error) func() error {
	return func() error {
		for _, act := range all {
			if err := act(); err != nil {
				return err
			}
		}
		return nil
	}
}

// newOutages starts servers, as many bookies as RUNNEL_BOOKIES says, and a daemon. Session is
// how long ZooKeeper waits for a server, 0: as usual.
func newOutages(t *testing.T, session time.Duration) *outages {
	t.Helper()
	text := os.Getenv("RUNNEL_BOOKIES")
	if text == "" {
		t.Skip("several minutes: `make bookies`")
	}
	bookies, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	cluster := stacktest.UpCluster(t, devstack.ClusterOptions{Bookies: bookies, Session: session, Timeout: 5 * time.Minute})
	t.Setenv(testserver.Pulsar, cluster.PulsarURL)
	t.Setenv(testserver.PulsarAdmin, cluster.PulsarAdminURL)
	w := newWorld(t)
	w.cfg.Namespace = "public/outages" // goes with the servers, which may not be able to delete it any more
	w.init()
	o := &outages{t: t, w: w, cluster: cluster, next: 1, daemon: w.spawn(), durable: map[int]position.Position{}}
	w.write(1, 100)
	o.next = 101
	w.complete("order")
	return o
}

// in makes what follows part of a subtest. The daemon's log stays with the test.
func (o *outages) in(t *testing.T) *outages {
	w := *o.w
	w.t = t
	o.t, o.w = t, &w
	return o
}

// play plays one fault under load, and requires that everything is whole in the end.
func (o *outages) play(f outage) {
	o.t.Helper()
	stop := o.write()
	defer stop()
	at := o.daemon.published()
	o.watch(time.Minute, func(n int) bool { return n >= at+500 }, "events pass")

	began, before, rows := time.Now(), o.daemon.published(), o.rows()
	if err := f.begin(); err != nil {
		o.t.Fatal(err)
	}
	during := o.watch(f.lasts+time.Minute, func(int) bool { return time.Since(began) > f.lasts }, "it lasted")
	ended, harmed, written := time.Now(), o.daemon.published(), o.rows()-rows
	whole, recovered := context.WithCancel(context.Background())
	defer recovered()
	var up time.Duration
	var servers errgroup.Group
	servers.Go(func() error {
		if err := f.end(); err != nil {
			return err
		}
		up = time.Since(ended)
		return o.supervise(whole)
	})
	after := o.watch(5*time.Minute, func(n int) bool { return n > harmed+100 }, "events pass again by themselves")
	on := time.Since(ended)
	stop()
	o.last()
	end := o.w.walEnd()
	o.watch(5*time.Minute, func(int) bool { return o.w.confirmed(end) }, "everything is confirmed")
	drained := time.Since(ended)
	recovered()
	if err := servers.Wait(); err != nil {
		o.t.Fatal(err)
	}

	total := o.rows()
	o.last()
	o.w.complete("order")
	o.w.inOrder("order")
	held := o.notAhead()

	o.t.Logf("%s for %s: %d events were written and %d published meanwhile, nothing for at most %s; published on %s after it (servers up after %s), all %d confirmed after %s; "+
		"states %v, then %v; run %d; %d samples of the slot", f.name, f.lasts, written, harmed-before, round(during.gap),
		round(on), round(up), total, round(drained), during.states, after.states, o.daemon.status().Run, held)
	switch longest := max(during.gap, after.gap); {
	case f.through && longest > 3*time.Second:
		o.t.Errorf("nothing was published for %s", longest)
	// Until its session has ended, a killed bookie is part of each new ledger: a few
	// events pass in the moment before that fails as well.
	case f.blocked && during.gap < f.lasts/2:
		o.t.Errorf("nothing was published for %s only: the fault did little", during.gap)
	}
	if written < 100*int(f.lasts.Seconds()) {
		o.t.Errorf("%d events were written", written)
	}
	pgtest.Eventually(o.t, time.Minute, func() bool { return o.daemon.status().State == pipeline.Streaming }, "it streams")
}

// supervise starts bookies that have ended by themselves, until ctx ends: whoever runs bookies
// has them started again. One whose disk stands still without a spare runs out of memory: the
// broker closes the ledger and sends the same to it in another one, some fifty times a second.
func (o *outages) supervise(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, bookie := range o.cluster.Bookies {
			if !bookie.Ended() {
				continue
			}
			o.t.Logf("%s has ended by itself and is started again", bookie.Name())
			if err := bookie.Start(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

// rows is how many events there are.
func (o *outages) rows() int {
	o.t.Helper()
	return pgtest.Value[int](o.t, o.w.db, `select count(*)::int from runnel.outbox`)
}

// last writes one more event: what reading leaves in the WAL, hints of pages, is flushed
// with a commit, and what is no event is confirmed only once a minute.
func (o *outages) last() {
	o.t.Helper()
	o.w.write(o.next, 1)
	o.next++
}

// write writes events at a steady pace, some hundreds a second, until it is stopped.
func (o *outages) write() (stop func()) {
	o.t.Helper()
	conn := o.w.db.Conn(o.t)
	quit := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		pace := time.NewTicker(10 * time.Millisecond)
		defer pace.Stop()
		for {
			select {
			case <-quit:
				return
			case <-pace.C:
			}
			if _, err := conn.Exec(context.Background(), `insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload)
				select 'order', (k % 17)::text, 'OrderShipped', 2, convert_to(jsonb_build_object(
					'order_id', k::text, 'carrier', 'DHL', 'shipped_at', now())::text, 'UTF8')
				from generate_series($1::int, $1::int + 4) k`, o.next); err != nil {
				o.t.Errorf("write: %v", err)
				return
			}
			o.next += 5
		}
	})
	stop = sync.OnceFunc(func() { close(quit); group.Wait() })
	o.t.Cleanup(stop)
	return stop
}

// seen is what was seen while something was waited for.
type seen struct {
	gap    time.Duration // the longest in which nothing was published
	states []string      // of the daemon, with the fault if there was one
}

// watch looks at the daemon until done holds of the number of events it has published.
func (o *outages) watch(patience time.Duration, done func(published int) bool, what string) (s seen) {
	o.t.Helper()
	last, since := o.daemon.published(), time.Now()
	pgtest.Eventually(o.t, patience, func() bool {
		n := o.daemon.published()
		s.gap = max(s.gap, time.Since(since))
		if n != last {
			last, since = n, time.Now()
		}
		st := o.daemon.status()
		o.sample(st)
		state := strings.TrimSpace(st.State + " " + st.Code)
		if !slices.Contains(s.states, state) {
			s.states = append(s.states, state)
		}
		return done(n)
	}, "%s: %s", what, func() string { return fmt.Sprintf("%+v", o.daemon.status()) })
	return s
}

// status is what the process tells of itself.
func (p *process) status() (st pipeline.Status) {
	response, err := http.Get("http://" + p.address + "/status")
	if err != nil {
		return st
	}
	defer func() { _ = response.Body.Close() }()
	_ = json.NewDecoder(response.Body).Decode(&st) // an empty one, then
	return st
}

// sample notes what the slot has confirmed, once a second, and what of it was durable.
func (o *outages) sample(st pipeline.Status) {
	o.t.Helper()
	for _, topic := range st.Topics {
		for _, p := range topic.Partitions {
			stamp, err := position.ParseStamp(p.Position)
			if err != nil {
				o.t.Fatal(err)
			}
			if o.durable[p.Partition].Less(stamp.Position) { // a run begins with none
				o.durable[p.Partition] = stamp.Position
			}
		}
	}
	for i := range o.samples {
		if s := &o.samples[i]; s.durable == nil && time.Since(s.taken) > settled {
			s.durable = maps.Clone(o.durable)
		}
	}
	if n := len(o.samples); n == 0 || time.Since(o.samples[n-1].taken) > sampling {
		o.samples = append(o.samples, sample{taken: time.Now(), confirmed: uint64(pgtest.Value[int64](o.t, o.w.db,
			`select (confirmed_flush_lsn - '0/0')::bigint from pg_replication_slots where slot_name = $1`, o.w.cfg.Slot))})
	}
}

// notAhead requires that the slot had never confirmed an event that the daemon did not
// know to be durable, and returns how many samples say so.
func (o *outages) notAhead() (judged int) {
	o.t.Helper()
	partitions := map[int][]position.Position{}
	o.w.read("order", func(m *broker.Incoming, s position.Stamp) {
		partitions[m.Partition.Index] = append(partitions[m.Partition.Index], s.Position)
	})
	for _, s := range o.samples {
		if s.durable == nil {
			continue // too young
		}
		judged++
		for i, durable := range s.durable {
			all := partitions[i]
			next, _ := slices.BinarySearchFunc(all, durable, position.Position.Compare)
			if next++; next < len(all) && all[next].LSN < s.confirmed {
				o.t.Errorf("%X was confirmed, and of partition %d only %s was durable, not %s", s.confirmed, i, durable, all[next])
			}
		}
	}
	o.samples = nil
	return judged
}

package pipeline

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/broker/memory"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/router"
)

// TestExactlyOnceUnderFaults drives the daemon's loop through drawn histories:
// transactions as a slot streams them, a broker that fails as Pulsar does, and one
// life of a daemon after another, each ended somewhere. Time is synctest's, so
// what hangs shows at once. -rapid.checks=10000 draws more; a failure prints the
// seed and the smallest history.
func TestExactlyOnceUnderFaults(t *testing.T) {
	drawAtLeast(t, 2000)
	rapid.Check(t, func(rt *rapid.T) {
		s := drawScript(rt) // all of it: nothing is drawn while it runs
		var err error
		synctest.Test(t, func(t *testing.T) { err = s.play(t) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

// drawAtLeast draws more histories than rapid's default, if none is asked for.
func drawAtLeast(t *testing.T, n int) {
	t.Helper()
	const name = "rapid.checks"
	checks := flag.Lookup(name)
	if was := checks.Value.String(); was == checks.DefValue {
		if err := flag.Set(name, strconv.Itoa(n)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = flag.Set(name, was) }) // it was valid before
	}
}

// script is a history and what happens while it is published.
type script struct {
	txs   []scriptTx
	lives []life
}

type scriptTx struct {
	begin, end uint64
	rows       []scriptRow
	ping       bool // a keepalive follows it
}

// scriptRow is an event: its topic, an index, and its aggregate.
type scriptRow struct {
	topic int
	key   string
}

// ending is how a life ends.
type ending string

const (
	killed  ending = "killed"  // what it had sent may be stored or not
	paused  ending = "paused"  // the broker and the slot give it up; it goes on when the next life has published
	stopped ending = "stopped" // in order
	fenced  ending = "fenced"  // it loses a partition
	unloads ending = "unloaded"
)

// life is one daemon, from its start to its end.
type life struct {
	until   int // inputs that it is given
	cut     int // inputs in a batch
	how     ending
	topic   int                 // what is unloaded or fenced
	fates   map[int]memory.Fate // of the nth entry that is added
	held    bool                // nothing of the topic is stored before the next life has begun
	rewinds int                 // the slot goes back by so many confirmations: Postgres crashed
	routes  []int               // it comes with routes that lead the events of each topic there; nil: with those of before
}

func (l life) String() string {
	text := fmt.Sprintf("%d inputs in batches of %d, then %s", l.until, l.cut, l.how)
	if l.held {
		text += ", topic " + courseTopics[l.topic] + " late"
	}
	for _, n := range sortedKeys(l.fates) {
		text += fmt.Sprintf(", add %d: %s", n, map[memory.Fate]string{memory.LoseAck: "acknowledgement lost", memory.Fail: "failed", memory.Vanish: "left out"}[l.fates[n]])
	}
	if l.rewinds > 0 {
		text += fmt.Sprintf(", slot rewound by %d", l.rewinds)
	}
	if l.routes != nil {
		text += fmt.Sprintf(", routes changed to %v", l.routes)
	}
	return text
}

func sortedKeys(m map[int]memory.Fate) (keys []int) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

var scriptPartitions = []int{3, 2}

func drawScript(t *rapid.T) script {
	var s script
	lsn := uint64(1000)
	for range rapid.IntRange(1, 20).Draw(t, "transactions") {
		lsn += uint64(rapid.IntRange(0, 2).Draw(t, "gap"))
		tx := scriptTx{begin: lsn, end: lsn + 10, ping: rapid.Bool().Draw(t, "keepalive")}
		for range rapid.IntRange(0, 5).Draw(t, "rows") {
			tx.rows = append(tx.rows, scriptRow{
				rapid.IntRange(0, len(scriptPartitions)-1).Draw(t, "topic"),
				fmt.Sprintf("k%d", rapid.IntRange(0, 6).Draw(t, "key"))})
		}
		s.txs = append(s.txs, tx)
		lsn += 10
	}
	for range rapid.IntRange(0, 6).Draw(t, "lives") {
		l := life{
			until:   rapid.IntRange(0, 60).Draw(t, "inputs"),
			cut:     rapid.IntRange(1, 12).Draw(t, "batch"),
			how:     rapid.SampledFrom([]ending{killed, paused, stopped, fenced, unloads}).Draw(t, "ends"),
			topic:   rapid.IntRange(0, len(scriptPartitions)-1).Draw(t, "topic"),
			fates:   make(map[int]memory.Fate),
			held:    rapid.IntRange(0, 3).Draw(t, "late") == 0,
			rewinds: rapid.IntRange(0, 2).Draw(t, "rewind"),
		}
		for range rapid.IntRange(0, 2).Draw(t, "failed adds") {
			l.fates[rapid.IntRange(0, 12).Draw(t, "add")] = rapid.SampledFrom([]memory.Fate{memory.LoseAck, memory.Fail, memory.Vanish}).Draw(t, "fate")
		}
		if rapid.IntRange(0, 2).Draw(t, "reroute") == 0 {
			l.routes = rapid.SampledFrom([][]int{{0, 1}, {1, 0}, {0, 0}, {1, 1}}).Draw(t, "routes")
		}
		t.Logf("life %d: %s", len(s.lives)+1, l)
		s.lives = append(s.lives, l)
	}
	return s
}

// inputs are what a slot confirmed at that LSN streams.
func (s script) inputs(confirmed uint64) []router.Input {
	var in []router.Input
	for i, tx := range s.txs {
		if tx.begin < confirmed {
			continue // as SnapBuildXactNeedsSkip has it
		}
		at := position.Position{Epoch: 1, LSN: tx.begin}
		in = append(in, router.Input{Kind: router.Begin, Transaction: router.Transaction{Position: at, Committed: int64(i)}})
		for n, r := range tx.rows {
			at.Index = uint32(n)
			name := []byte(courseTopics[r.topic])
			in = append(in, router.Input{Kind: router.Row, Event: router.Event{
				Position: at, ID: [16]byte{byte(i), byte(n), 1}, AggregateType: name, AggregateID: []byte(r.key), Type: name,
				Encoding: router.JSON, Payload: fmt.Appendf(nil, `{"id":"%d.%d"}`, i, n),
			}})
		}
		in = append(in, router.Input{Kind: router.Commit, LSN: tx.end})
		if tx.ping {
			in = append(in, router.Input{Kind: router.WALEnd, LSN: tx.end})
		}
	}
	return in
}

// world is what outlives a daemon.
type world struct {
	script
	*course
	told    []uint64 // what the slot was told, as it rose
	holes   bool     // an add was left out although later ones were stored
	asleep  *attempt // paused: goes on when the next life has published
	all     []*attempt
	release func()
}

// play plays the script, then lives without a fault, and compares.
func (s script) play(t *testing.T) error {
	w := &world{script: s, course: newCourse(t, scriptPartitions...), release: func() {}}
	routes, err := router.NewRoutes(nil)
	if err != nil {
		return err
	}
	w.routing = []router.Generation{{Routes: routes}}
	w.confirmed.Store(s.txs[0].begin)
	defer w.bury()
	for i, l := range s.lives {
		if err := w.live(l); err != nil {
			return fmt.Errorf("life %d: %w", i+1, err)
		}
	}
	err = w.live(life{until: 1 << 20, cut: 50, how: stopped})
	if err == nil {
		err = w.live(life{until: 1 << 20, cut: 50, how: stopped}) // what the first one's end kept from being confirmed
	}
	if w.holes && isHole(err) {
		return w.sound() // it halts, and nothing was confirmed away
	}
	if err != nil {
		return fmt.Errorf("without a fault: %w", err)
	}
	return w.complete()
}

// live is one life.
func (w *world) live(l life) error {
	w.rewind(l.rewinds)
	// What was held of the life before comes in while this one begins.
	late := time.AfterFunc(2*time.Second, w.release)
	defer late.Stop()
	if l.routes != nil {
		w.reroute(l.routes)
	}
	adds := 0
	w.broker.OnAdd(func(add memory.Add) memory.Fate {
		if add.Partition.Topic == fenceTopic {
			return memory.Store
		}
		fate := l.fates[adds]
		adds++
		w.holes = w.holes || fate == memory.Vanish
		return fate
	})
	a := w.start()
	w.all = append(w.all, a)
	w.feedTo(a, l, 0, l.until/2)
	if l.held {
		<-time.After(5 * time.Second) // so that the partitions are ours
		held := broker.Partition{Topic: w.topics[l.topic].full}
		w.must(w.broker.Hold(held))
		w.release = func() { w.must(w.broker.Release(held)) }
	}
	if w.asleep != nil {
		synctest.Wait()
		w.asleep.conn.Resume()
		synctest.Wait() // it does what it can
		w.asleep.stop() // and learns that the slot is another's
		w.asleep = nil
	}
	w.feedTo(a, l, l.until/2, l.until)
	if l.how != killed && l.how != paused && !l.held {
		// Let it do what it was given; the others end amid.
		for waited := 0; waited < 60 && w.confirmed.Load() < w.txs[len(w.txs)-1].end; waited++ {
			<-time.After(time.Second)
		}
	}
	err := w.end(a, l)
	w.told = append(w.told, w.confirmed.Load())
	if err != nil && halts(err) && !(w.holes && isHole(err)) {
		return fmt.Errorf("it halted: %w", err)
	}
	if l.until == 1<<20 && err != nil {
		return err
	}
	return w.sound()
}

// isHole reports whether a daemon halts at what an add left out.
func isHole(err error) bool {
	return errors.Is(err, router.ErrHole) || errors.Is(err, broker.ErrHole)
}

// feedTo gives inputs from..until of the replay, in batches.
func (w *world) feedTo(a *attempt, l life, from, until int) {
	in := w.inputs(a.loop.start.LSN)
	from, until = min(from, len(in)), min(until, len(in))
	for from < until {
		n := min(l.cut, until-from)
		select {
		case a.feed <- &router.Batch{Inputs: in[from : from+n]}:
		case <-a.ended:
			return
		case <-time.After(10 * time.Minute): // a poison or a full window would be a fault of the test
			panic("the loop takes no batch")
		}
		from += n
	}
}

func (w *world) end(a *attempt, l life) error {
	switch l.how {
	case killed, paused:
		a.lost.Store(true) // of what it confirms from here on the slot hears nothing
		a.conn.Drop()
		if l.how == paused {
			w.asleep = a
		}
		return nil
	case fenced:
		w.must(w.broker.Fence(broker.Partition{Topic: w.topics[l.topic].full}))
	case unloads:
		w.must(w.broker.Unload(w.topics[l.topic].full))
	case stopped:
	}
	synctest.Wait()
	a.stop()
	<-a.ended
	a.lost.Store(true)
	return a.err
}

// rewind takes the slot back to what it was told some confirmations ago.
func (w *world) rewind(n int) {
	if n > 0 && len(w.told) > n {
		w.confirmed.Store(w.told[len(w.told)-1-n])
	}
}

// reroute begins a generation as takeRoutes does.
func (w *world) reroute(to []int) {
	var rules []router.RouteRule
	for from, topic := range to {
		rules = append(rules, router.RouteRule{Aggregate: courseTopics[from], Topic: courseTopics[topic]})
	}
	routes, err := router.NewRoutes(rules)
	w.must(err)
	g := router.Generation{Number: uint32(len(w.routing)), Routes: routes}
	conn := w.broker.Connect("daemon")
	defer conn.Close()
	w.must(w.fence(conn).claim(w.t.Context()))
	for _, t := range w.topics {
		for i := range t.partitions {
			p := broker.Partition{Topic: t.full, Index: i}
			producer, tail, err := conn.Acquire(w.t.Context(), broker.AcquireRequest{Partition: p, Producer: "runnel-test", Replayed: position.Beyond}, func(string) {})
			w.must(err)
			producer.Close()
			g.After = position.Later(g.After, tail.Stamp.Position)
		}
	}
	w.routing = append(w.routing, g)
}

// bury ends what is left.
func (w *world) bury() {
	w.release()
	for _, a := range w.all {
		a.stop()
		a.conn.Resume()
		<-a.ended
	}
}

// sound requires that everything below what the slot was told is stored.
func (w *world) sound() error {
	logs, err := w.read()
	if err != nil {
		return err
	}
	for _, tx := range w.txs {
		if tx.end > w.confirmed.Load() {
			break
		}
		for n, r := range tx.rows {
			at := position.Position{Epoch: 1, LSN: tx.begin, Index: uint32(n)}
			if !slices.Contains(logs[w.placeOf(r, at)], at) {
				return fmt.Errorf("the slot was told %d, and %s of topic %s is not stored", w.confirmed.Load(), at, courseTopics[r.topic])
			}
		}
	}
	return nil
}

// complete requires that the topics hold the history, and the slot has it all.
func (w *world) complete() error {
	want := make(map[broker.Partition][]position.Position)
	for _, tx := range w.txs {
		for n, r := range tx.rows {
			at := position.Position{Epoch: 1, LSN: tx.begin, Index: uint32(n)}
			p := w.placeOf(r, at)
			want[p] = append(want[p], at)
		}
	}
	got, err := w.read()
	if err != nil {
		return err
	}
	for _, t := range w.topics {
		for i := range t.partitions {
			p := broker.Partition{Topic: t.full, Index: i}
			if !slices.Equal(got[p], want[p]) {
				return fmt.Errorf("%s holds\n%s\nwant\n%s", p, listed(got[p]), listed(want[p]))
			}
		}
	}
	if end := w.txs[len(w.txs)-1].end; w.confirmed.Load() != end {
		return fmt.Errorf("the slot was told %d, the history ends at %d", w.confirmed.Load(), end)
	}
	return nil
}

func listed(all []position.Position) string {
	var b strings.Builder
	for _, p := range all {
		fmt.Fprintf(&b, "  %d/%d", p.LSN, p.Index)
	}
	return b.String()
}

// placeOf returns where an event belongs: what the newest generation says that begins
// below it.
func (w *world) placeOf(r scriptRow, at position.Position) broker.Partition {
	for _, g := range slices.Backward(w.routing) {
		if !g.After.Less(at) {
			continue
		}
		local := g.Routes.Explain(courseTopics[r.topic], courseTopics[r.topic]).Topic
		t := w.topics[slices.Index(courseTopics, local)]
		return broker.Partition{Topic: t.full, Index: router.PartitionOf([]byte(r.key), t.partitions)}
	}
	panic("no generation")
}

// read returns the positions in each partition. They rise, and ordinals are dense.
func (w *world) read() (map[broker.Partition][]position.Position, error) {
	logs := make(map[broker.Partition][]position.Position)
	for _, t := range w.topics {
		for i := range t.partitions {
			p := broker.Partition{Topic: t.full, Index: i}
			all, err := w.broker.Messages(p)
			if err != nil {
				return nil, err
			}
			for _, m := range all {
				stamp, err := m.Stamp()
				if err != nil {
					return nil, err
				}
				if n := len(logs[p]); n > 0 && !logs[p][n-1].Less(stamp.Position) {
					return nil, fmt.Errorf("%s: %s after %s", p, stamp.Position, logs[p][n-1])
				}
				logs[p] = append(logs[p], stamp.Position)
				if !w.holes && stamp.Ordinal != uint64(len(logs[p])) {
					return nil, fmt.Errorf("%s: ordinal %d is the %dth", p, stamp.Ordinal, len(logs[p]))
				}
			}
		}
	}
	return logs, nil
}

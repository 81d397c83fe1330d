package router

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/schemas"
)

// fakeCodec passes payloads through; a payload of "bad" does not fit, and for one of
// "newer" it would have to ask a registry that is down.
type fakeCodec struct{}

var errBadPayload = errors.New("does not fit")

func (fakeCodec) AppendAvro(dst []byte, _ string, _ schemas.Fingerprint, payload []byte) ([]byte, *schemas.TopicSchema, error) {
	if string(payload) == "bad" {
		return nil, nil, errBadPayload
	}
	if string(payload) == "newer" {
		return nil, nil, schemas.ErrRegistryUnreachable.New("no answer")
	}
	return append(dst, payload...), nil, nil
}

func (f fakeCodec) AppendJSON(dst []byte, eventType string, payload []byte) ([]byte, *schemas.TopicSchema, error) {
	return f.AppendAvro(dst, eventType, schemas.Fingerprint{}, payload)
}

// checkSize counts payloads only.
func checkSize(m *Send, maxBytes int) error {
	if len(m.Payload) > maxBytes {
		return errors.New("too large")
	}
	return nil
}

// history is what a database committed: the truth of a test.
type history struct {
	txs []historyTx
}

type historyTx struct {
	begin, end uint64
	events     []Event
}

// draw makes a history of transactions whose end is the next one's begin, as
// Postgres has it, now and then with WAL between them.
func draw(t *rapid.T, topics int) history {
	var h history
	lsn := uint64(1000)
	n := rapid.IntRange(1, 30).Draw(t, "transactions")
	for i := range n {
		lsn += uint64(rapid.IntRange(0, 2).Draw(t, "gap"))
		tx := historyTx{begin: lsn, end: lsn + 10}
		rows := rapid.IntRange(0, 6).Draw(t, "rows")
		for r := range rows {
			tx.events = append(tx.events, Event{
				Position:      position.Position{Epoch: 1, LSN: lsn, Index: uint32(r)},
				ID:            [16]byte{byte(i), byte(r), 1},
				AggregateType: fmt.Appendf(nil, "a%d", rapid.IntRange(0, topics-1).Draw(t, "topic")),
				AggregateID:   fmt.Appendf(nil, "k%d", rapid.IntRange(0, 5).Draw(t, "key")),
				Type:          []byte("Happened"),
				Encoding:      Avro,
				Payload:       fmt.Appendf(nil, "%d.%d", i, r),
			})
		}
		h.txs = append(h.txs, tx)
		lsn += 10
	}
	return h
}

// inputs returns what a slot confirmed at that LSN streams.
func (h history) inputs(confirmed uint64) []Input {
	var in []Input
	for _, tx := range h.txs {
		if tx.begin < confirmed {
			continue // as SnapBuildXactNeedsSkip has it
		}
		in = append(in, Input{Kind: Begin, Transaction: Transaction{Position: position.Position{Epoch: 1, LSN: tx.begin}}})
		for _, e := range tx.events {
			in = append(in, Input{Kind: Row, Event: e})
		}
		in = append(in, Input{Kind: Commit, LSN: tx.end})
	}
	return append(in, Input{Kind: WALEnd, LSN: h.end()})
}

func (h history) end() uint64 { return h.txs[len(h.txs)-1].end + 100 }

// world is the durable state around a run: the slot and the partitions.
type world struct {
	topics    []Topic
	confirmed uint64
	logs      map[string][]Send // by topic and partition
	routing   []Generation
}

func newWorld(topics, partitions int) *world {
	routes, _ := NewRoutes(nil)
	w := &world{confirmed: 1000, logs: map[string][]Send{}, routing: []Generation{{Number: 1, Routes: routes}}}
	for i := range topics {
		w.topics = append(w.topics, Topic{Name: fmt.Sprintf("a%d", i), Partitions: partitions, Codec: fakeCodec{}})
	}
	return w
}

func (w *world) run() *State {
	s := New(Config{Topics: w.topics, Start: w.start(), CheckSize: checkSize})
	s.UseGenerations(w.routing)
	return s
}

func (w *world) start() position.Position { return position.Position{Epoch: 1, LSN: w.confirmed} }

func (w *world) name(s *State, l Lane) string {
	topic, partition := s.Partition(l)
	return fmt.Sprintf("%s/%d", w.topics[topic].Name, partition)
}

// acquired reads a partition as the broker does.
func (w *world) acquired(s *State, l Lane) Acquired {
	a := Acquired{Lane: l, MaxBytes: 1 << 20}
	for _, m := range w.logs[w.name(s, l)] {
		a.Tail = m.Stamp
		if !m.Stamp.Less(w.start()) {
			a.ReadBack.Add(m.Stamp.Position)
		}
	}
	return a
}

// topicOf returns where an event is to be: what the newest generation says that begins
// below it.
func (w *world) topicOf(e *Event) string {
	var topic string
	for _, g := range w.routing {
		if g.After.Less(e.Position) {
			topic = g.Routes.Explain(string(e.AggregateType), string(e.Type)).Topic
		}
	}
	return topic
}

// want returns what the partitions must hold in the end.
func (w *world) want(h history) map[string][]string {
	want := map[string][]string{}
	for _, tx := range h.txs {
		for _, e := range tx.events {
			for _, topic := range w.topics {
				if topic.Name == w.topicOf(&e) {
					name := fmt.Sprintf("%s/%d", topic.Name, PartitionOf(e.AggregateID, topic.Partitions))
					want[name] = append(want[name], e.Position.String())
				}
			}
		}
	}
	return want
}

// TestExactlyOnceUnderCrashes drives generated histories through runs that are
// cut off anywhere, with any part of what was sent having become durable, and
// requires that the partitions hold exactly the history in the end.
func TestExactlyOnceUnderCrashes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := draw(t, 2)
		w := newWorld(2, 2)
		for range rapid.IntRange(0, 5).Draw(t, "crashes") {
			w.drive(t, h, rapid.IntRange(1, 80).Draw(t, "steps"))
		}
		w.drive(t, h, -1)
		w.holds(t, h)
	})
}

// holds requires that the partitions hold exactly the history, and that it is confirmed.
func (w *world) holds(t *rapid.T, h history) {
	want := w.want(h)
	for name, log := range w.logs {
		positions := want[name]
		if len(log) != len(positions) {
			t.Fatalf("%s holds %d events, want %d", name, len(log), len(positions))
		}
		for i, m := range log {
			if m.Stamp.Position.String() != positions[i] || m.Stamp.Ordinal != uint64(i+1) {
				t.Fatalf("%s[%d] = %s, want %s with ordinal %d", name, i, m.Stamp, positions[i], i+1)
			}
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Fatalf("nothing holds %v", want)
	}
	if w.confirmed != h.end() {
		t.Fatalf("confirmed %d, want %d", w.confirmed, h.end())
	}
}

// drive makes one run of at most limit actions (-1: until everything is
// confirmed), in an order drawn from t.
func (w *world) drive(t *rapid.T, h history, limit int) {
	s := w.run()
	in := h.inputs(w.confirmed)
	var acquiring []Lane
	sentTo := map[Lane][]Send{} // sent, not durable
	ackable := map[Lane]int{}   // durable, not acknowledged
	order := []Lane{}
	for steps := 0; limit < 0 || steps < limit; steps++ {
		type action func()
		var can []action
		fail := func(err error) {
			if err != nil {
				t.Fatalf("%v", err)
			}
		}
		if len(in) > 0 && !s.Waits(&in[0]) {
			can = append(can, func() { fail(s.Step(&in[0])); in = in[1:] })
		}
		for i, l := range acquiring {
			can = append(can, func() {
				acquiring = append(append([]Lane(nil), acquiring[:i]...), acquiring[i+1:]...)
				fail(s.Acquired(w.acquired(s, l)))
			})
		}
		for _, l := range order {
			if len(sentTo[l]) > 0 {
				can = append(can, func() {
					w.logs[w.name(s, l)] = append(w.logs[w.name(s, l)], sentTo[l][0])
					sentTo[l] = sentTo[l][1:]
					ackable[l]++
				})
			}
			if ackable[l] > 0 {
				can = append(can, func() {
					n := rapid.IntRange(1, ackable[l]).Draw(t, "acks")
					ackable[l] -= n
					fail(s.Acked(l, n))
				})
			}
		}
		if len(can) == 0 {
			break
		}
		can[rapid.IntRange(0, len(can)-1).Draw(t, "action")]()
		acquiring = append(acquiring, s.Ready().Acquire...)
		for _, m := range s.Ready().Send {
			if _, ok := sentTo[m.Lane]; !ok {
				order = append(order, m.Lane)
			}
			if len(sentTo[m.Lane])+ackable[m.Lane] > 0 && s.lanes[m.Lane].phase == laneProbing {
				t.Fatalf("lane %d sent a second message before its probe was acknowledged", m.Lane)
			}
			w.inOrder(t, h, m.Stamp.Position)
			m.own()
			sentTo[m.Lane] = append(sentTo[m.Lane], m)
		}
		s.Ready().Reset()
		w.confirm(t, s, h)
	}
	// The crash: what was on its way may still become durable, as a prefix.
	for _, l := range order {
		n := rapid.IntRange(0, len(sentTo[l])).Draw(t, "late")
		w.logs[w.name(s, l)] = append(w.logs[w.name(s, l)], sentTo[l][:n]...)
	}
}

// inOrder requires, of an event that is sent, that all that the generations before its
// own route is stored.
func (w *world) inOrder(t *rapid.T, h history, at position.Position) {
	var after position.Position
	for _, g := range w.routing {
		if g.After.Less(at) {
			after = g.After
		}
	}
	stored := w.durable()
	for _, tx := range h.txs {
		for _, e := range tx.events {
			if e.Position.Compare(after) <= 0 && !stored[e.Position.String()] {
				t.Fatalf("%s is sent by the routes after %s, and %s is not stored", at, after, e.Position)
			}
		}
	}
}

func (w *world) durable() map[string]bool {
	all := map[string]bool{}
	for _, log := range w.logs {
		for _, m := range log {
			all[m.Stamp.Position.String()] = true
		}
	}
	return all
}

// confirm moves the slot, and checks that it never passes the begin of a
// transaction that has an event which is not durable.
func (w *world) confirm(t *rapid.T, s *State, h history) {
	if s.Confirmed() < w.confirmed {
		t.Fatalf("the confirmation went back from %d to %d", w.confirmed, s.Confirmed())
	}
	w.confirmed = s.Confirmed()
	durable := w.durable()
	for _, tx := range h.txs {
		for _, e := range tx.events {
			if tx.begin < w.confirmed && !durable[e.Position.String()] {
				t.Fatalf("confirmed %d, but %s is not durable", w.confirmed, e.Position)
			}
		}
	}
}

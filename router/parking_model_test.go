package router

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/internal/deadletter"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/schemas"
)

// moody is a codec that changes between runs: what fits is decided by the world.
type moody struct{ w *parkingWorld }

func (m moody) AppendAvro(dst []byte, _ string, _ schemas.Fingerprint, payload []byte) ([]byte, *schemas.TopicSchema, error) {
	if m.w.bad[string(payload)] {
		return nil, nil, errBadPayload
	}
	return append(dst, payload...), nil, nil
}

func (m moody) AppendJSON(dst []byte, eventType string, payload []byte) ([]byte, *schemas.TopicSchema, error) {
	return m.AppendAvro(dst, eventType, schemas.Fingerprint{}, payload)
}

// parkingWorld is a database, its slot and its topics, where events fail for a while and
// people retry and discard them, with what they saw of the dead-letter topic maybe old.
type parkingWorld struct {
	t         *rapid.T
	topics    []Topic
	next      uint64 // LSN
	made      int
	txs       []parkingTx
	confirmed uint64
	told      []uint64
	logs      map[string][]Send
	bad       map[string]bool // payloads that do not fit now
	first     map[string]position.Position
	keys      map[string]string // payload to key
	discarded map[string]bool
	everDead  bool
	routing   []Generation

	refusals int // runs that ended at a poison
	spoilt   int // of these, at one that was to be published
}

type parkingTx struct {
	begin, end uint64
	inputs     []Input
}

const deadTopic = "dead/0"

func newParkingWorld(t *rapid.T) *parkingWorld {
	w := &parkingWorld{t: t, next: 1000, confirmed: 1000, logs: map[string][]Send{}, bad: map[string]bool{},
		first: map[string]position.Position{}, keys: map[string]string{}, discarded: map[string]bool{}}
	for i := range 2 {
		w.topics = append(w.topics, Topic{Name: fmt.Sprintf("a%d", i), Partitions: 2, Codec: moody{w}})
	}
	w.topics = append(w.topics, Topic{Name: "dead", Partitions: 1})
	return w
}

func (w *parkingWorld) commit(rows []Event, control *Control) {
	tx := parkingTx{begin: w.next, end: w.next + 10}
	w.next += 10 + uint64(rapid.IntRange(0, 1).Draw(w.t, "gap"))
	at := position.Position{Epoch: 1, LSN: tx.begin}
	tx.inputs = append(tx.inputs, Input{Kind: Begin, Transaction: Transaction{Position: at, Committed: int64(tx.begin)}})
	if control != nil {
		control.Position = at
		tx.inputs = append(tx.inputs, Input{Kind: ControlRecord, Control: control})
		at.Index++
	}
	for _, e := range rows {
		e.Position = at
		at.Index++
		if _, ok := w.first[string(e.Payload)]; !ok {
			w.first[string(e.Payload)] = e.Position
			w.keys[string(e.Payload)] = string(e.AggregateType) + " " + string(e.AggregateID)
		}
		tx.inputs = append(tx.inputs, Input{Kind: Row, Event: e})
	}
	tx.inputs = append(tx.inputs, Input{Kind: Commit, LSN: tx.end})
	w.txs = append(w.txs, tx)
}

// write commits a transaction of a service.
func (w *parkingWorld) write() {
	var rows []Event
	for range rapid.IntRange(0, 4).Draw(w.t, "rows") {
		w.made++
		aggregate := rapid.SampledFrom([]string{"a0", "a0", "a0", "a1", "a1", "a9"}).Draw(w.t, "aggregate")
		payload := fmt.Sprint(w.made)
		if rapid.IntRange(0, 5).Draw(w.t, "bad") == 0 {
			w.bad[payload] = true
		}
		rows = append(rows, Event{ID: [16]byte{byte(w.made), byte(w.made >> 8), 1}, AggregateType: []byte(aggregate),
			AggregateID: fmt.Appendf(nil, "k%d", rapid.IntRange(0, 3).Draw(w.t, "key")), Type: []byte("Happened"), Encoding: Avro, Payload: []byte(payload)})
	}
	w.commit(rows, nil)
}

func propertiesOf(m Send) map[string]string { return new(PropertyBuffer).Of(&m).Map() }

// letters returns what the dead-letter topic adds up to.
func (w *parkingWorld) letters(log []Send) *deadletter.Log {
	l := new(deadletter.Log)
	for _, m := range log {
		if _, err := l.Add(m.Stamp.Position, m.Payload, propertiesOf(m)); err != nil {
			w.t.Fatal(err)
		}
	}
	return l
}

// operate retries or discards what an operator saw, who may have looked a while ago.
func (w *parkingWorld) operate() {
	log := w.logs[deadTopic]
	entries := w.letters(log[:rapid.IntRange(max(0, len(log)-6), len(log)).Draw(w.t, "looked")]).All()
	if len(entries) == 0 {
		return
	}
	key := rapid.SampledFrom(entries).Draw(w.t, "released").Key
	var of []deadletter.Entry
	for _, e := range entries {
		if e.Key == key {
			of = append(of, e)
		}
	}
	slices.SortFunc(of, func(a, b deadletter.Entry) int { return a.Rank.Compare(b.Rank) })
	discard := rapid.IntRange(0, 4).Draw(w.t, "discard") == 0
	of = of[:rapid.IntRange(1, len(of)).Draw(w.t, "of them")]
	w.releaseAs(key, discard, of)
}

func (w *parkingWorld) releaseAs(key deadletter.Key, discard bool, of []deadletter.Entry) {
	body, _ := json.Marshal(deadletter.NewRecord(key, discard, of))
	var rows []Event
	for _, e := range of {
		if discard {
			continue
		}
		for _, m := range w.logs[deadTopic] {
			if m.Stamp.Position == e.Position {
				l, err := deadletter.ParseLetter(m.Stamp.Position, m.Payload, propertiesOf(m))
				if err != nil {
					w.t.Fatal(err)
				}
				rows = append(rows, Event{ID: l.ID, AggregateType: []byte(l.Key.AggregateType), AggregateID: []byte(l.Key.AggregateID),
					Type: []byte(l.EventType), Encoding: Encoding(l.Encoding), Fingerprint: l.Fingerprint, Payload: l.Payload, Headers: l.Headers, OccurredAt: l.OccurredAt})
			}
		}
	}
	w.commit(rows, &Control{Kind: deadletter.ControlRelease, Body: body})
}

func (w *parkingWorld) end() uint64 { return w.next }

// run makes a State; mode is none, stop or park.
func (w *parkingWorld) run(mode string, limit int) *State {
	routes, _ := NewRoutes(nil)
	cfg := Config{Routes: routes, Topics: w.topics, Start: position.Position{Epoch: 1, LSN: w.confirmed}, CheckSize: checkSize}
	if mode == "none" && !w.everDead {
		cfg.Topics = cfg.Topics[:2]
	} else {
		w.everDead = true
		cfg.DeadLetters = &DeadLetters{Park: mode == "park", Limit: limit}
	}
	st := New(cfg)
	if len(w.routing) == 0 {
		w.routing = []Generation{{Number: 1, Routes: routes}}
	}
	st.UseGenerations(w.routing)
	return st
}

func (w *parkingWorld) change() {
	topic := rapid.SampledFrom([]string{"a0", "a1", "a9"})
	routes, err := NewRoutes([]RouteRule{{Aggregate: "a0", Topic: topic.Draw(w.t, "a0")}, {Aggregate: "a1", Topic: topic.Draw(w.t, "a1")}, {Aggregate: "a9", Topic: topic.Draw(w.t, "a9")}})
	if err != nil {
		w.t.Fatal(err)
	}
	g := Generation{Number: uint32(len(w.routing) + 1), Routes: routes}
	if len(w.routing) > 0 {
		g.After = w.routing[len(w.routing)-1].After
	}
	for _, log := range w.logs {
		for _, m := range log {
			if g.After.Less(m.Stamp.Position) {
				g.After = m.Stamp.Position
			}
		}
	}
	w.routing = append(w.routing, g)
}

func (w *parkingWorld) name(s *State, l Lane) string {
	topic, partition := s.Partition(l)
	return fmt.Sprintf("%s/%d", w.topics[topic].Name, partition)
}

func (w *parkingWorld) acquired(s *State, l Lane) Acquired {
	a := Acquired{Lane: l, MaxBytes: 1 << 20}
	for _, m := range w.logs[w.name(s, l)] {
		a.Tail = m.Stamp
		if !m.Stamp.Less(s.start) {
			a.ReadBack.Add(m.Stamp.Position)
		}
	}
	return a
}

// recover reads the dead-letter topic as the daemon does: from its floor on.
func (w *parkingWorld) recover(s *State, lane Lane) error {
	all := w.logs[deadTopic]
	log, held := new(deadletter.Log), map[position.Position]*deadletter.Release{}
	if len(all) > 0 {
		floor, err := deadletter.Floor(propertiesOf(all[len(all)-1]))
		if err != nil {
			return err
		}
		for _, m := range all {
			at := m.Stamp.Position
			if at.Less(floor) && at.Less(s.start) {
				continue
			}
			release, err := log.Add(at, m.Payload, propertiesOf(m))
			if err != nil {
				return err
			}
			if !at.Less(s.start) {
				held[at] = release
			}
		}
	}
	return s.Recover(w.acquired(s, lane), log, held)
}

// drive makes one run of at most limit actions (-1: until nothing is left to do).
func (w *parkingWorld) drive(mode string, parkedLimit, limit int) (poison error) {
	s := w.run(mode, parkedLimit)
	fed := 0
	for fed < len(w.txs) && w.txs[fed].begin < w.confirmed {
		fed++
	}
	var in []Input
	ended := false
	var acquiring []Lane
	recovered := s.parking == nil
	sentTo, ackable, order := map[Lane][]Send{}, map[Lane]int{}, []Lane{}
	unacked := map[position.Position]bool{} // parked, and not known to be stored
	for steps := 0; limit < 0 || steps < limit; steps++ {
		for len(in) == 0 && fed < len(w.txs) {
			in, ended = append(in, w.txs[fed].inputs...), false
			fed++
		}
		if len(in) == 0 && !ended {
			in, ended = append(in, Input{Kind: WALEnd, LSN: w.end()}), true
		}
		var can []func()
		fail := func(err error) {
			if err != nil && (s.Poison() == nil || !errors.Is(err, s.Poison())) {
				w.t.Fatalf("%v", err)
			}
		}
		if len(in) > 0 && s.Poison() == nil && !s.Waits(&in[0]) {
			can = append(can, func() { fail(s.Step(&in[0])); in = in[1:] })
		}
		if lane, ok := s.DeadLetterLane(); ok && !recovered {
			can = append(can, func() { recovered = true; fail(w.recover(s, lane)) })
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
					n := rapid.IntRange(1, ackable[l]).Draw(w.t, "acks")
					if s.parking != nil && l == s.parking.lane {
						log := w.logs[deadTopic]
						for _, m := range log[len(log)-ackable[l] : len(log)-ackable[l]+n] {
							delete(unacked, m.Stamp.Position)
						}
					}
					ackable[l] -= n
					fail(s.Acked(l, n))
				})
			}
		}
		if len(can) == 0 {
			break
		}
		if limit >= 0 {
			switch rapid.IntRange(0, 12).Draw(w.t, "people") {
			case 0:
				w.operate()
			case 1:
				w.write()
			}
		}
		can[rapid.IntRange(0, len(can)-1).Draw(w.t, "action")]()
		acquiring = append(acquiring, s.Ready().Acquire...)
		for _, m := range s.Ready().Send {
			dead := s.parking != nil && m.Lane == s.parking.lane
			for at := range unacked {
				if !dead && at.Less(m.Stamp.Position) {
					w.t.Fatalf("%s is sent while %s is on its way to the dead-letter topic", m.Stamp, at)
				}
			}
			if dead {
				unacked[m.Stamp.Position] = true
			}
			if _, ok := sentTo[m.Lane]; !ok {
				order = append(order, m.Lane)
			}
			m.own()
			sentTo[m.Lane] = append(sentTo[m.Lane], m)
		}
		s.Ready().Reset()
		w.confirm(s)
		if s.Poison() != nil && s.Settled() {
			w.refusals++
			if errors.Is(s.Poison(), ErrSpoilt) {
				w.spoilt++
			}
			break
		}
	}
	for _, l := range order {
		n := rapid.IntRange(0, len(sentTo[l])).Draw(w.t, "late")
		w.logs[w.name(s, l)] = append(w.logs[w.name(s, l)], sentTo[l][:n]...)
	}
	w.told = append(w.told, w.confirmed)
	return s.Poison()
}

// TestParkingUnderCrashes drives generated histories through runs that are cut off
// anywhere, while what can be encoded changes between them and people retry and discard.
func TestParkingUnderCrashes(t *testing.T) {
	parkings, retries, refusals, spoilt := 0, 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		w := newParkingWorld(t)
		for range rapid.IntRange(1, 12).Draw(t, "transactions") {
			w.write()
		}
		for range rapid.IntRange(0, 6).Draw(t, "crashes") {
			mode := rapid.SampledFrom([]string{"park", "park", "park", "stop", "none"}).Draw(t, "mode")
			_ = w.drive(mode, rapid.SampledFrom([]int{1000, 1000, 2}).Draw(t, "limit"), rapid.IntRange(1, 120).Draw(t, "steps"))
			for _, payload := range slices.Sorted(maps.Keys(w.first)) {
				if w.bad[payload] {
					w.bad[payload] = rapid.IntRange(0, 2).Draw(t, "still bad") > 0
				} else if rapid.IntRange(0, 9).Draw(t, "spoilt") == 0 {
					w.bad[payload] = true
				}
			}
			if rapid.Bool().Draw(t, "changed") {
				w.change()
			}
			if n := len(w.told); rapid.IntRange(0, 3).Draw(t, "rewound") == 0 { // Postgres crashed
				w.confirmed = w.told[rapid.IntRange(0, n-1).Draw(t, "to")]
			}
		}
		for {
			err := w.drive("park", 1000, -1)
			if err == nil {
				break
			}
			if !errors.Is(err, ErrSpoilt) {
				t.Fatal(err)
			}
			clear(w.bad) // what was changed is undone
		}
		w.judge()
		// Put right: everything is published in the end, by as many rounds as there are keys.
		clear(w.bad)
		w.topics = append(w.topics[:2:2], Topic{Name: "a9", Partitions: 2, Codec: moody{w}}, w.topics[2])
		for range 40 {
			all := w.letters(w.logs[deadTopic])
			if all.Len() == 0 {
				break
			}
			key := all.All()[0].Key
			w.releaseAs(key, false, slices.Clone(all.Of(key)))
			if err := w.drive("park", 1000, -1); err != nil {
				t.Fatal(err)
			}
		}
		if n := w.letters(w.logs[deadTopic]).Len(); n > 0 {
			t.Fatalf("%d events are parked still", n)
		}
		w.judge()
		parkings += len(w.logs[deadTopic])
		retries += len(w.released())
		refusals += w.refusals
		spoilt += w.spoilt
	})
	if !t.Failed() && (parkings == 0 || retries == 0 || refusals == 0) {
		t.Errorf("%d parked or released, %d released, %d runs that ended at a poison", parkings, retries, refusals)
	}
	t.Logf("%d messages in dead-letter topics, %d events released, %d runs ended at a poison, %d of them at one that was to be published", parkings, retries, refusals, spoilt)
}

package router

import (
	"fmt"
	"testing"

	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/schemas"
)

// copying is a codec that does no more than a payload that passes through costs at least.
type copying struct{ schema schemas.TopicSchema }

func (c *copying) AppendAvro(dst []byte, _ string, _ schemas.Fingerprint, payload []byte) ([]byte, *schemas.TopicSchema, error) {
	return append(dst, payload...), &c.schema, nil
}

func (c *copying) AppendJSON(dst []byte, _ string, payload []byte) ([]byte, *schemas.TopicSchema, error) {
	return append(dst, payload...), &c.schema, nil
}

// stream feeds a state with transactions of ten rows, of 1,000 aggregates over 8 partitions.
// Everything that is handed out is acknowledged at once.
type stream struct {
	testing.TB
	s      *State
	rows   [10]Input
	lsn    uint64
	sent   []int // by lane
	buffer PropertyBuffer
	n      int
}

func newStream(t testing.TB) *stream {
	routes, err := NewRoutes(nil)
	if err != nil {
		t.Fatal(err)
	}
	const partitions = 8
	st := &stream{TB: t, lsn: 100, sent: make([]int, partitions)}
	st.s = New(Config{Routes: routes, Topics: []Topic{{Name: "order", Partitions: partitions, Codec: &copying{}}}, Start: position.Position{Epoch: 1, LSN: 100}})
	for i := range st.rows {
		st.rows[i] = Input{Kind: Row, Event: Event{AggregateType: []byte("order"), Type: []byte("OrderPlaced"), Encoding: Avro, Payload: make([]byte, 250)}}
	}
	for range 1000 { // every lane is open then
		st.transaction()
	}
	return st
}

func (st *stream) must(err error) {
	if err != nil {
		st.Fatal(err)
	}
}

func (st *stream) transaction() {
	at := position.Position{Epoch: 1, LSN: st.lsn}
	st.must(st.s.Step(&Input{Kind: Begin, Transaction: Transaction{Position: at}}))
	for i := range st.rows {
		at.Index = uint32(i)
		e := &st.rows[i].Event
		e.Position, e.AggregateID = at, keys[st.n%len(keys)]
		st.n++
		st.must(st.s.Step(&st.rows[i]))
	}
	st.lsn += 10
	st.must(st.s.Step(&Input{Kind: Commit, LSN: st.lsn}))
	for _, id := range st.s.Ready().Acquire {
		st.must(st.s.Acquired(Acquired{Lane: id, MaxBytes: 1 << 20}))
	}
	for i := range st.s.Ready().Send {
		m := &st.s.Ready().Send[i]
		st.sent[m.Lane]++
		if len(st.buffer.Of(m)) != 3 {
			st.Fatal("a message has three properties")
		}
	}
	st.s.Ready().Reset()
	for id, n := range st.sent {
		if n > 0 {
			st.must(st.s.Acked(Lane(id), n))
			st.sent[id] = 0
		}
	}
}

var keys = func() (all [][]byte) {
	for i := range 1000 {
		all = append(all, fmt.Appendf(nil, "order-%d", i))
	}
	return all
}()

// BenchmarkStep is of one event: from the row to the message, and back to what is confirmed.
func BenchmarkStep(b *testing.B) {
	st := newStream(b)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%len(st.rows) == 0 {
			st.transaction()
		}
	}
}

// TestStepAllocatesNothing: all memory of a steady stream is used again.
func TestStepAllocatesNothing(t *testing.T) {
	st := newStream(t)
	before := st.s.Confirmed()
	if n := testing.AllocsPerRun(100, st.transaction) / float64(len(st.rows)); n > 0.01 {
		t.Errorf("%.3f allocations an event", n)
	}
	if st.s.Confirmed() <= before || !st.s.Idle() {
		t.Errorf("confirmed %d after %d: the stream stands still", st.s.Confirmed(), before)
	}
}

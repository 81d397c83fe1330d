package router

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/schemas"
)

// script feeds a state of one topic with one partition.
type script struct {
	t     *testing.T
	s     *State
	lsn   uint64
	epoch uint32
}

func newScript(t *testing.T) *script {
	w := newWorld(1, 1)
	w.confirmed = 100
	return &script{t: t, s: w.run(), lsn: 100, epoch: 1}
}

func (c *script) event(index int, payload string) Event {
	return Event{Position: position.Position{Epoch: c.epoch, LSN: c.lsn, Index: uint32(index)}, ID: [16]byte{15: byte(index)},
		AggregateType: []byte("a0"), AggregateID: []byte("k"), Type: []byte("Happened"), Encoding: Avro, Payload: []byte(payload)}
}

func (c *script) begin() error {
	return c.s.Step(&Input{Kind: Begin, Transaction: Transaction{Position: position.Position{Epoch: c.epoch, LSN: c.lsn}}})
}

// tx feeds a transaction of the payloads.
func (c *script) tx(payloads ...string) error {
	if err := c.begin(); err != nil {
		return err
	}
	for i, p := range payloads {
		e := c.event(i, p)
		if err := c.s.Step(&Input{Kind: Row, Event: e}); err != nil {
			return err
		}
	}
	c.lsn += 10
	return c.s.Step(&Input{Kind: Commit, LSN: c.lsn})
}

func (c *script) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// sent returns the payloads handed out since the last call.
func (c *script) sent() string {
	var all []string
	for _, m := range c.s.Ready().Send {
		all = append(all, fmt.Sprintf("%s#%d", m.Payload, m.Stamp.Ordinal))
	}
	c.s.Ready().Reset()
	return strings.Join(all, " ")
}

func (c *script) sends(want string) {
	c.t.Helper()
	if got := c.sent(); got != want {
		c.t.Fatalf("sent %q, want %q", got, want)
	}
}

func (c *script) confirmed(want uint64) {
	c.t.Helper()
	if got := c.s.Confirmed(); got != want {
		c.t.Fatalf("confirmed %d, want %d", got, want)
	}
}

func TestTheProbeGoesAlone(t *testing.T) {
	c := newScript(t)
	c.must(c.tx("a", "b"))
	if got := c.s.Ready().Acquire; len(got) != 1 {
		t.Fatalf("acquire %v, want one lane", got)
	}
	c.sends("")
	c.must(c.s.Acquired(Acquired{MaxBytes: 1 << 20}))
	c.sends("a#1")
	c.must(c.tx("c"))
	c.sends("")
	c.must(c.s.Acked(0, 1))
	c.sends("b#2 c#3")
	c.confirmed(100)
	c.must(c.s.Acked(0, 1))
	c.confirmed(110)
	c.must(c.s.Acked(0, 1))
	c.confirmed(120)
}

func TestKeepaliveIsConfirmedOnlyWhenNothingIsOpen(t *testing.T) {
	c := newScript(t)
	c.must(c.s.Step(&Input{Kind: WALEnd, LSN: 105}))
	c.confirmed(105)
	c.lsn = 110
	c.must(c.begin())
	c.must(c.s.Step(&Input{Kind: WALEnd, LSN: 150})) // half received
	c.confirmed(105)
	e := c.event(0, "a")
	c.must(c.s.Step(&Input{Kind: Row, Event: e}))
	c.must(c.s.Step(&Input{Kind: Commit, LSN: 120}))
	c.must(c.s.Step(&Input{Kind: WALEnd, LSN: 160})) // in flight
	c.confirmed(105)
	c.must(c.s.Acquired(Acquired{MaxBytes: 1 << 20}))
	c.must(c.s.Acked(0, 1))
	c.confirmed(160)
}

func TestReplayIsSkippedAndContinued(t *testing.T) {
	c := newScript(t)
	var there position.Digest
	there.Add(position.Position{Epoch: 1, LSN: 100, Index: 0})
	there.Add(position.Position{Epoch: 1, LSN: 100, Index: 1})
	c.must(c.tx("a", "b", "c"))
	c.must(c.s.Acquired(Acquired{MaxBytes: 1 << 20, ReadBack: there,
		Tail: position.Stamp{Position: position.Position{Epoch: 1, LSN: 100, Index: 1}, Ordinal: 7}}))
	c.sends("c#8")
	c.must(c.s.Acked(0, 1))
	c.confirmed(110)
}

func TestHolesHalt(t *testing.T) {
	at := func(index uint32) position.Position { return position.Position{Epoch: 1, LSN: 100, Index: index} }
	digest := func(ps ...position.Position) (d position.Digest) {
		for _, p := range ps {
			d.Add(p)
		}
		return d
	}
	for name, tail := range map[string]Acquired{
		"an event is missing":            {ReadBack: digest(at(0), at(2)), Tail: position.Stamp{Position: at(2), Ordinal: 2}},
		"the first is missing":           {ReadBack: digest(at(1)), Tail: position.Stamp{Position: at(1), Ordinal: 1}},
		"one was never in the log":       {ReadBack: digest(at(0), at(1), at(7)), Tail: position.Stamp{Position: at(7), Ordinal: 3}},
		"two are swapped":                {ReadBack: digest(at(1), at(0), at(2)), Tail: position.Stamp{Position: at(2), Ordinal: 3}},
		"there is more than the log has": {ReadBack: digest(at(0), at(0), at(1), at(2)), Tail: position.Stamp{Position: at(2), Ordinal: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newScript(t)
			tail.MaxBytes = 1 << 20
			c.must(c.tx("a", "b", "c"))
			err := c.s.Acquired(tail)
			if err == nil {
				err = c.s.Step(&Input{Kind: WALEnd, LSN: 200}) // the log goes on without it
			}
			if !errors.Is(err, ErrHole) {
				t.Fatalf("error %v, want ErrHole", err)
			}
			c.sends("")
			c.confirmed(100)
		})
	}
}

func TestLaterHistoryHalts(t *testing.T) {
	c := newScript(t)
	c.must(c.tx("a"))
	err := c.s.Acquired(Acquired{Tail: position.Stamp{Position: position.Position{Epoch: 2}, Ordinal: 1}})
	if !errors.Is(err, ErrEpochAhead) {
		t.Fatalf("error %v, want ErrEpochAhead", err)
	}
}

// After a failover that lost what a partition holds last, the partition goes on behind
// that; what the database still has must be there in full.
func TestLostTail(t *testing.T) {
	for name, there := range map[string][]uint32{"in full": {0, 1}, "one is missing": {0}, "one is too many": {0, 1, 2}} {
		t.Run(name, func(t *testing.T) {
			c := newScript(t)
			c.s.epoch = 2
			var held position.Digest
			for _, index := range there {
				held.Add(position.Position{Epoch: 1, LSN: 100, Index: index})
			}
			c.must(c.tx("a", "b"))
			err := c.s.Acquired(Acquired{MaxBytes: 1 << 20, ReadBack: held,
				Tail: position.Stamp{Position: position.Position{Epoch: 1, LSN: 900}, Ordinal: 5}})
			c.sends("")
			c.confirmed(100)
			c.epoch, c.lsn = 2, 500 // the fork
			if err == nil {
				err = c.tx("c")
			}
			if name != "in full" {
				if !errors.Is(err, ErrHole) {
					t.Fatalf("error %v, want ErrHole", err)
				}
				c.confirmed(100)
				return
			}
			c.must(err)
			c.sends("c#6")
			c.confirmed(110)
			c.must(c.s.Acked(0, 1))
			c.confirmed(510)
		})
	}
}

// TestPoison: an event that can't be published stops the run at its position;
// what came before it is confirmed, and the event itself is not.
func TestPoison(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Event)
		want   *fault.Code
	}{
		"no aggregate id":  {func(e *Event) { e.AggregateID = nil }, ErrNoAggregateID},
		"unknown topic":    {func(e *Event) { e.AggregateType = []byte("other") }, ErrUnknownEvent},
		"payload":          {func(e *Event) { e.Payload = []byte("bad") }, ErrUnencodable},
		"encoding":         {func(e *Event) { e.Encoding = 9 }, ErrUnencodable},
		"headers":          {func(e *Event) { e.Headers = []byte(`{"a":1}`) }, ErrHeaders},
		"reserved header":  {func(e *Event) { e.Headers = []byte(`{"type":"x"}`) }, ErrHeaders},
		"headers no JSON":  {func(e *Event) { e.Headers = []byte(`{"a":`) }, ErrHeaders},
		"larger than 2000": {func(e *Event) { e.Payload = bytes.Repeat([]byte("x"), 2001) }, ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			c := newScript(t)
			c.must(c.tx("a"))
			c.must(c.s.Acquired(Acquired{MaxBytes: 2000}))
			c.must(c.s.Acked(0, 1))
			c.sent()
			c.must(c.begin())
			good, bad := c.event(0, "b"), c.event(1, "c")
			test.change(&bad)
			c.must(c.s.Step(&Input{Kind: Row, Event: good}))
			err := c.s.Step(&Input{Kind: Row, Event: bad})
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %s", err, test.want.ID)
			}
			f := fault.Find(err)
			if f.Where != "position 00000001-000000000000006e-00000001" {
				t.Errorf("where %q", f.Where)
			}
			c.sends("b#2")
			c.must(c.s.Acked(0, 1))
			c.confirmed(110)
			if err := c.s.Step(&Input{Kind: Commit, LSN: 120}); err == nil {
				t.Error("the run went on after an error")
			}
		})
	}
}

func TestProtocolErrors(t *testing.T) {
	for name, in := range map[string][]Input{
		"row outside a transaction":    {{Kind: Row}},
		"commit outside a transaction": {{Kind: Commit}},
		"begin in a transaction":       {{Kind: Begin, Transaction: Transaction{Position: position.Position{Epoch: 1, LSN: 200}}}, {Kind: Begin}},
		"begin goes back":              {{Kind: Begin, Transaction: Transaction{Position: position.Position{Epoch: 1, LSN: 50}}}},
		"unknown kind":                 {{Kind: 99}},
	} {
		c := newScript(t)
		var err error
		for i := range in {
			err = c.s.Step(&in[i])
		}
		if !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: error %v, want ErrProtocol", name, err)
		}
	}
	c := newScript(t)
	if err := c.s.Acked(0, 1); !errors.Is(err, ErrAckOrder) {
		t.Errorf("error %v, want ErrAckOrder", err)
	}
}

// TestLostIsSkipped: what the partition has lost for good counts as published, and is not
// looked for; what lies above it is compared as ever.
func TestLostIsSkipped(t *testing.T) {
	t.Parallel()
	at := func(lsn uint64, index uint32) position.Position {
		return position.Position{Epoch: 1, LSN: lsn, Index: index}
	}
	acquired := func(held ...position.Position) Acquired {
		a := Acquired{Tail: position.Stamp{Position: at(110, 1), Ordinal: 14}, MaxBytes: 1 << 20, Lost: at(110, 0)}
		for _, p := range held {
			a.ReadBack.Add(p)
		}
		return a
	}
	c := newScript(t)
	c.must(c.tx("lost", "lost"))
	c.must(c.s.Acquired(acquired(at(110, 0), at(110, 1))))
	if c.s.Confirmed() != 110 {
		t.Errorf("confirmed %d, want the end of what is lost", c.s.Confirmed())
	}
	c.must(c.tx("held", "held", "new"))
	if sends := c.s.Ready().Send; len(sends) != 1 || sends[0].Stamp.Ordinal != 15 {
		t.Errorf("%+v, want the new event alone", sends)
	}
	c = newScript(t)
	c.must(c.tx("lost"))
	c.must(c.s.Acquired(acquired(at(110, 1))))
	if err := c.tx("missing", "held"); !errors.Is(err, ErrHole) {
		t.Errorf("%v, want a hole above what is lost", err)
	}
}

func TestFullAndSettled(t *testing.T) {
	w := newWorld(1, 1)
	w.confirmed = 100
	routes, _ := NewRoutes(nil)
	c := &script{t: t, lsn: 100, epoch: 1, s: New(Config{Routes: routes, Topics: w.topics, Start: w.start(), MaxEvents: 2})}
	c.must(c.tx("a", "b"))
	if !c.s.Full() || c.s.Settled() {
		t.Fatal("two events in flight: want full and not settled")
	}
	c.must(c.s.Acquired(Acquired{MaxBytes: 1 << 20}))
	c.must(c.s.Acked(0, 1))
	c.must(c.s.Acked(0, 1))
	if c.s.Full() || !c.s.Settled() || !c.s.Idle() {
		t.Fatal("everything acknowledged: want settled and idle")
	}
	if events, bytes := c.s.InFlight(); events != 0 || bytes != 0 {
		t.Fatalf("%d events and %d bytes in flight, want none", events, bytes)
	}
}

func TestPayloadsOfABatchDoNotOverlap(t *testing.T) {
	c := newScript(t)
	c.must(c.tx("first"))
	c.must(c.s.Acquired(Acquired{MaxBytes: 64 << 20}))
	c.must(c.s.Acked(0, 1))
	c.sent()
	var want []string
	for i := range 200 {
		payload := strings.Repeat(string(rune('a'+i%26)), 1+i*37)
		want = append(want, payload)
		c.must(c.tx(payload))
	}
	for i, m := range c.s.Ready().Send {
		if string(m.Payload) != want[i] {
			t.Fatalf("payload %d was overwritten", i)
		}
	}
}

// TestPoisonLetsOthersFinish: what was committed before an event that can't be
// published is published, also when its lanes were not acquired yet; in the
// event's own lane nothing passes it.
func TestPoisonLetsOthersFinish(t *testing.T) {
	w := newWorld(2, 1)
	w.confirmed = 100
	c := &script{t: t, s: w.run(), lsn: 100, epoch: 1}
	other := func(index int, payload string) Event {
		e := c.event(index, payload)
		e.AggregateType = []byte("a1")
		return e
	}
	c.must(c.begin())
	for i, e := range []Event{c.event(0, "a"), other(1, "x"), c.event(2, "bad"), c.event(3, "b"), other(4, "y")} {
		if err := c.s.Step(&Input{Kind: Row, Event: e}); err != nil {
			t.Fatalf("row %d: %v", i, err)
		}
	}
	c.must(c.s.Acquired(Acquired{Lane: 0, MaxBytes: 1000}))
	c.sends("a#1")
	c.must(c.s.Acked(0, 1)) // the bad one is found now
	c.sends("")
	if !errors.Is(c.s.Poison(), ErrUnencodable) || c.s.Settled() {
		t.Fatalf("poison %v, settled %v: want the bad event, and the other lane not settled", c.s.Poison(), c.s.Settled())
	}
	if err := c.s.Step(&Input{Kind: Commit, LSN: 110}); !errors.Is(err, ErrUnencodable) {
		t.Fatalf("step: %v", err)
	}
	c.must(c.s.Acquired(Acquired{Lane: 1, MaxBytes: 1000}))
	c.sends("x#1")
	c.must(c.s.Acked(1, 1))
	c.sends("y#2")
	c.must(c.s.Acked(1, 1))
	if !c.s.Settled() {
		t.Fatal("not settled")
	}
	c.confirmed(100)
}

// TestManyReplayedTransactionsTakeNoMemory: however many transactions are
// replayed below a watermark, reading goes on.
func TestManyReplayedTransactionsTakeNoMemory(t *testing.T) {
	c := newScript(t)
	const n = 200_000
	var there position.Digest
	for i := range n {
		there.Add(position.Position{Epoch: 1, LSN: uint64(100 + 10*i)})
	}
	last := position.Position{Epoch: 1, LSN: 100 + 10*(n-1)}
	c.must(c.tx("0"))
	c.must(c.s.Acquired(Acquired{MaxBytes: 1000, ReadBack: there, Tail: position.Stamp{Position: last, Ordinal: n}}))
	for range n - 1 {
		if c.s.Full() {
			t.Fatal("full")
		}
		c.must(c.tx("x"))
	}
	if got := len(c.s.window.entries); got > 1024 {
		t.Errorf("the window has %d entries", got)
	}
	c.confirmed(c.lsn)
	c.sends("")
	c.must(c.tx("new"))
	c.sends(fmt.Sprintf("new#%d", n+1))
}

// TestWaitingEventsAreCopied: what waits does not refer to its batch any more.
func TestWaitingEventsAreCopied(t *testing.T) {
	c := newScript(t)
	payload := []byte("abc")
	c.must(c.begin())
	e := c.event(0, "")
	e.Payload = payload
	c.must(c.s.Step(&Input{Kind: Row, Event: e}))
	copy(payload, "xyz")
	c.must(c.s.Acquired(Acquired{MaxBytes: 1000}))
	c.sends("abc#1")
}

// What the codec has to ask may fail: the run ends, and the event is no poison. Nothing
// of its lane is sent after it, and its transaction is not confirmed.
func TestRegistryDown(t *testing.T) {
	for name, waiting := range map[string]bool{"a new event": false, "one that waited for the probe": true} {
		t.Run(name, func(t *testing.T) {
			c := newScript(t)
			c.must(c.tx("a"))
			c.must(c.s.Acquired(Acquired{MaxBytes: 1 << 20}))
			c.sends("a#1")
			var err error
			if waiting {
				c.must(c.tx("newer", "b"))
				err = c.s.Acked(0, 1)
			} else {
				c.must(c.s.Acked(0, 1))
				err = c.tx("newer", "b")
			}
			if !errors.Is(err, schemas.ErrRegistryUnreachable) || c.s.Poison() != nil {
				t.Fatalf("error %v, poison %v", err, c.s.Poison())
			}
			c.sends("")
			c.confirmed(110)
			if err := c.begin(); !errors.Is(err, schemas.ErrRegistryUnreachable) {
				t.Errorf("the run goes on: %v", err)
			}
		})
	}
}

package letterbox

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/deadletter"
	"github.com/runnel-cdc/runnel/internal/position"
)

// topic is a dead-letter topic in memory.
type topic struct {
	all  []*broker.Incoming
	log  deadletter.Log
	read int // messages
}

func (t *topic) ReadSince(_ context.Context, _ broker.Partition, from position.Position, _ string) (broker.Reader, error) {
	i := 0
	for i < len(t.all) {
		if s, err := t.all[i].Stamp(); err == nil && !s.Less(from) {
			break
		}
		i++
	}
	return &reader{t, t.all[max(0, i-1):]}, nil // one below it, as it may
}

type reader struct {
	t    *topic
	left []*broker.Incoming
}

func (r *reader) HasNext(context.Context) (bool, error) { return len(r.left) > 0, nil }
func (r *reader) Next(context.Context) (*broker.Incoming, error) {
	m := r.left[0]
	r.left = r.left[1:]
	r.t.read++
	return m, nil
}
func (r *reader) Close() {}

func at(lsn uint64) position.Position { return position.Position{Epoch: 1, LSN: lsn} }

func (t *topic) add(where position.Position, payload []byte, properties map[string]string) {
	properties[position.Property] = position.Stamp{Position: where, Ordinal: uint64(len(t.all) + 1)}.String()
	t.all = append(t.all, &broker.Incoming{Payload: payload, Properties: properties})
}

// park and release do as the daemon does.
func (t *topic) park(where position.Position, id byte) {
	l := deadletter.Letter{Entry: deadletter.Entry{Position: where, Rank: where, ID: [16]byte{id}, Key: deadletter.Key{AggregateType: "order", AggregateID: "1"}}}
	t.log.Park(l.Entry)
	t.add(where, nil, l.Properties(t.log.Summary().Floor))
}

func (t *topic) release(where position.Position, lsn uint64, id byte) {
	e, ok := t.log.Release(deadletter.Key{AggregateType: "order", AggregateID: "1"}, deadletter.Ref{ID: [16]byte{id}, Position: at(lsn)})
	if !ok {
		panic("not parked")
	}
	r := deadletter.NewRelease(e.Key, false, []deadletter.Entry{e})
	payload, _ := json.Marshal(r)
	floor := where
	if s := t.log.Summary(); s.Events > 0 {
		floor = s.Floor
	}
	t.add(where, payload, r.Properties(floor))
}

func TestRead(t *testing.T) {
	var box topic
	empty, err := Read(t.Context(), Topic{Broker: &box}, at(5), nil, nil)
	if err != nil || empty.Log.Len() != 0 {
		t.Fatalf("%+v, %v", empty, err)
	}
	for n := range uint64(50) {
		box.park(at(10*n+10), byte(n))
		if n != 20 {
			box.release(at(10*n+15), 10*n+10, byte(n))
		}
	}
	for _, c := range []struct {
		start      uint64
		held, most int
	}{{505, 1, 62}, {1000, 0, 62}, {485, 5, 62}, {100, 81, 90}, {0, 99, 101}} {
		box.read = 0
		taken := 0
		got, err := Read(t.Context(), Topic{Broker: &box}, at(c.start), nil, func(position.Position, *broker.Incoming) { taken++ })
		if err != nil {
			t.Fatal(err)
		}
		if all := got.Log.All(); len(all) != 1 || all[0].Position != at(210) || len(got.Held) != c.held || box.read > c.most || taken == 0 {
			t.Errorf("from %d: %v is parked, %d held, want %d; %d read", c.start, all, len(got.Held), c.held, box.read)
		}
	}
	if got, err := Read(t.Context(), Topic{Broker: &box}, at(485), nil, nil); err != nil || got.Held[at(490)] != nil || got.Held[at(495)] == nil {
		t.Errorf("%v, %v", got.Held, err)
	}
}

// What the database has lost counts no more: nor do the releases, so that what they
// released counts again, however far below it is.
func TestReadLost(t *testing.T) {
	var box topic
	box.park(at(10), 1)
	box.park(at(20), 2)
	box.release(at(100), 10, 1)
	box.release(at(110), 20, 2)
	box.park(at(120), 3)
	h := position.History{{Epoch: 1, Begin: 0}, {Epoch: 2, Begin: 105, Before: 105}}
	got, err := Read(t.Context(), Topic{Broker: &box}, at(105), h, nil)
	if err != nil {
		t.Fatal(err)
	}
	if all := got.Log.All(); len(all) != 1 || all[0].Position != at(20) || len(got.Held) != 0 {
		t.Errorf("%v is parked, %v held", all, got.Held)
	}
}

func TestReadHoles(t *testing.T) {
	var box topic
	for n := range uint64(5) {
		box.park(at(10*n+10), byte(n))
	}
	whole := box.all
	for name, all := range map[string][]*broker.Incoming{
		"the first one gone": whole[1:],
		"one gone":           {whole[0], whole[1], whole[3], whole[4]},
		"two swapped":        {whole[0], whole[2], whole[1], whole[3], whole[4]},
	} {
		box.all = all
		if _, err := Read(t.Context(), Topic{Broker: &box}, at(1000), nil, nil); !errors.Is(err, broker.ErrHole) {
			t.Errorf("%s: %v", name, err)
		}
	}
	box.all = append(whole[:5:5], &broker.Incoming{Properties: map[string]string{"type": "Placed"}})
	if _, err := Read(t.Context(), Topic{Broker: &box}, at(1000), nil, nil); !errors.Is(err, broker.ErrForeignMessage) {
		t.Errorf("a foreign message: %v", err)
	}
	// One that is passed over, though it is the last.
	box.all = append(whole[:5:5], &broker.Incoming{Producer: "stranger"})
	topic := Topic{Broker: &box, Stamp: func(m *broker.Incoming) (position.Stamp, error) {
		if m.Producer == "stranger" {
			return position.Stamp{}, nil
		}
		return m.Stamp()
	}}
	if got, err := Read(t.Context(), topic, at(1000), nil, nil); err != nil || got.Log.Len() != 5 {
		t.Errorf("%+v, %v", got, err)
	}
}

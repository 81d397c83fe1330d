package router

import (
	"errors"
	"testing"

	"github.com/runnel-cdc/runnel/internal/deadletter"
	"github.com/runnel-cdc/runnel/internal/position"
)

// parkingState is a run with one topic and an empty dead-letter topic.
func parkingState(t *testing.T, letters *DeadLetters) *State {
	t.Helper()
	routes, _ := NewRoutes(nil)
	s := New(Config{Routes: routes, Start: position.Position{Epoch: 1, LSN: 1}, DeadLetters: letters, CheckSize: checkSize,
		Topics: []Topic{{Name: "a", Partitions: 1, Codec: fakeCodec{}}, {Name: "dead", Partitions: 1}}})
	if err := s.Recover(Acquired{Lane: 1, MaxBytes: 100}, new(deadletter.Log), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Acquired(Acquired{Lane: 0, MaxBytes: 100}); !errors.Is(err, ErrProtocol) {
		t.Fatalf("a lane that was not asked for: %v", err)
	}
	s.err = nil
	return s
}

func begun(t *testing.T, s *State) {
	t.Helper()
	if err := s.Step(&Input{Kind: Begin, Transaction: Transaction{Position: position.Position{Epoch: 1, LSN: 10}}}); err != nil {
		t.Fatal(err)
	}
}

// TestControlRefused: a control record that can't be carried out ends the run.
func TestControlRefused(t *testing.T) {
	at := position.Position{Epoch: 1, LSN: 10}
	for name, c := range map[string]*Control{
		"another kind": {at, "generation", []byte("{}")},
		"no record":    {at, deadletter.ControlRelease, []byte("[]")},
		"of nothing":   {at, deadletter.ControlRelease, []byte("{}")},
	} {
		s := parkingState(t, &DeadLetters{Park: true, Limit: 10})
		begun(t, s)
		if err := s.Step(&Input{Kind: ControlRecord, Control: c}); !errors.Is(err, ErrControl) {
			t.Errorf("%s: %v", name, err)
		}
	}
	routes, _ := NewRoutes(nil)
	s := New(Config{Routes: routes, Start: position.Position{Epoch: 1, LSN: 1}})
	begun(t, s)
	if err := s.Step(&Input{Kind: ControlRecord, Control: &Control{at, deadletter.ControlRelease, []byte("{}")}}); !errors.Is(err, ErrNoDeadLetters) {
		t.Errorf("without a topic: %v", err)
	}
	s = New(Config{Routes: routes, Start: position.Position{Epoch: 1, LSN: 1}})
	begun(t, s)
	if err := s.Step(&Input{Kind: ControlRecord, Control: &Control{}}); !errors.Is(err, ErrProtocol) {
		t.Errorf("at another position: %v", err)
	}
}

// TestTooLargeToPark: an event that the dead-letter topic does not take either ends the
// reading, even compressed.
func TestTooLargeToPark(t *testing.T) {
	s := parkingState(t, &DeadLetters{Park: true, Limit: 10})
	begun(t, s)
	noise := make([]byte, 5000)
	x := uint32(1)
	for i := range noise {
		x = x*1664525 + 1013904223
		noise[i] = byte(x >> 24)
	}
	e := Event{Position: position.Position{Epoch: 1, LSN: 10}, AggregateType: []byte("a"), AggregateID: []byte("k"), Encoding: Avro, Payload: noise}
	if err := s.Step(&Input{Kind: Row, Event: e}); err != nil {
		t.Fatal(err)
	}
	if err := s.Acquired(Acquired{Lane: 0, MaxBytes: 100}); err != nil {
		t.Fatal(err)
	}
	if err := s.Poison(); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
}

// TestUnknownIsAskedFor: before an event is parked for its type, the caller may say that it
// looked at old schemas.
func TestUnknownIsAskedFor(t *testing.T) {
	newer := errors.New("there is a topic by now")
	s := parkingState(t, &DeadLetters{Park: true, Limit: 10, Unknown: func(aggregate, eventType, topic string) error {
		if aggregate != "b" || eventType != "Happened" || topic != "b" {
			t.Errorf("asked for %s, %s, %s", aggregate, eventType, topic)
		}
		return newer
	}})
	begun(t, s)
	e := Event{Position: position.Position{Epoch: 1, LSN: 10}, AggregateType: []byte("b"), AggregateID: []byte("k"), Type: []byte("Happened")}
	if err := s.Step(&Input{Kind: Row, Event: e}); !errors.Is(err, newer) || s.Poison() != nil {
		t.Errorf("%v, poison %v", err, s.Poison())
	}
}

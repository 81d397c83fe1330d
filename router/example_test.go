package router_test

import (
	"errors"
	"fmt"

	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/router"
	"github.com/runnel-cdc/runnel/schemas"
)

// A run of the machine: values go in, and what is to be done comes out. This one
// replays a transaction whose first event its partition holds already.
func ExampleState() {
	routes, err := router.NewRoutes(nil) // no rules: the topic is the aggregate type
	if err != nil {
		fmt.Println(err)
		return
	}
	at := position.Position{Epoch: 1, LSN: 0x100}
	s := router.New(router.Config{Routes: routes, Start: at, Topics: []router.Topic{{Name: "order", Partitions: 1, Codec: codec()}}})
	todo := func() {
		for _, lane := range s.Ready().Acquire {
			fmt.Println("acquire lane", lane)
		}
		for _, m := range s.Ready().Send {
			fmt.Printf("send %s %s, ordinal %d: % x\n", m.Type, m.Key, m.Stamp.Ordinal, m.Payload)
		}
		s.Ready().Reset()
	}
	row := func(index uint32, payload string) *router.Input {
		at.Index = index
		return &router.Input{Kind: router.Row, Event: router.Event{Position: at, Encoding: router.JSON, Payload: []byte(payload),
			AggregateType: []byte("order"), AggregateID: []byte("42"), Type: []byte("Weighed")}}
	}

	// The stream.
	for _, in := range []*router.Input{
		{Kind: router.Begin, Transaction: router.Transaction{Position: at}},
		row(0, `{"grams": 500}`),
		row(1, `{"grams": 510}`),
		{Kind: router.Commit, LSN: 0x180},
	} {
		if err := s.Step(in); err != nil {
			fmt.Println(err)
		}
	}
	todo()

	// The partition is ours. Its last message has the position of the first event.
	first := position.Position{Epoch: 1, LSN: 0x100}
	var there position.Digest
	there.Add(first)
	if err := s.Acquired(router.Acquired{Tail: position.Stamp{Position: first, Ordinal: 8}, ReadBack: there, MaxBytes: 1 << 20}); err != nil {
		fmt.Println(err)
	}
	todo()
	fmt.Printf("confirmed %#x\n", s.Confirmed())

	// The broker has stored the second one.
	if err := s.Acked(0, 1); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("confirmed %#x\n", s.Confirmed())
	// Output:
	// acquire lane 0
	// send Weighed 42, ordinal 9: 00 fc 07
	// confirmed 0x100
	// confirmed 0x180
}

// An event that can't be published stops the reading, and nothing before it.
func ExampleState_Poison() {
	routes, err := router.NewRoutes(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	at := position.Position{Epoch: 1, LSN: 0x100}
	s := router.New(router.Config{Routes: routes, Start: at, Topics: []router.Topic{{Name: "order", Partitions: 1, Codec: codec()}}})
	row := func(index uint32, payload string) *router.Input {
		at.Index = index
		return &router.Input{Kind: router.Row, Event: router.Event{Position: at, Encoding: router.JSON, Payload: []byte(payload),
			AggregateType: []byte("order"), AggregateID: []byte("42"), Type: []byte("Weighed")}}
	}
	for _, in := range []*router.Input{
		{Kind: router.Begin, Transaction: router.Transaction{Position: at}},
		row(0, `{"grams": 500}`),
		row(1, `{"grams": "a lot"}`),
	} {
		if err := s.Step(in); err != nil {
			fmt.Println(err)
		}
	}

	// The partition is empty, and ours: what stands before the event goes out.
	if err := s.Acquired(router.Acquired{MaxBytes: 1 << 20}); err != nil {
		fmt.Println(err)
	}
	fmt.Println(len(s.Ready().Send), "to send, settled:", s.Settled())
	s.Ready().Reset()
	if err := s.Acked(0, 1); err != nil {
		fmt.Println(err)
	}
	fmt.Println(len(s.Ready().Send), "to send, settled:", s.Settled())
	fmt.Println(errors.Is(s.Poison(), router.ErrUnencodable), s.Poison())
	// Output:
	// 1 to send, settled: false
	// 0 to send, settled: true
	// true position 00000001-0000000000000100-00000001: EVENT_UNENCODABLE event 00000000-0000-0000-0000-000000000000 of type "Weighed", order 42: INVALID_JSON $.grams: expected long, found a string
}

// codec encodes under a topic's schema of one event.
func codec() *schemas.TopicCodec {
	weighed := schemas.MustEventType(`{"type": "record", "name": "Weighed", "aggregate": "order", "fields": [{"name": "grams", "type": "long"}]}`)
	topic, err := schemas.Compose("order", []*schemas.EventType{weighed}, nil)
	if err != nil {
		panic(err)
	}
	c, err := schemas.NewTopicCodec([]*schemas.TopicSchema{topic})
	if err != nil {
		panic(err)
	}
	return c
}

// Names are checked before anything is created in Pulsar.
func ExampleCheckTopicName() {
	fmt.Println(router.CheckTopicName("order-audit"))
	fmt.Println(router.CheckTopicName("order/audit"))
	fmt.Println(router.CheckTopicName("order-partition-3"))
	// Output:
	// <nil>
	// the character '/' is not one of a-z A-Z 0-9 _ - . : =
	// names ending in -partition-N are Pulsar's own
}

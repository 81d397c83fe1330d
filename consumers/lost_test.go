package consumers_test

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/history"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/properties"
)

// remember publishes what a pipeline's database has of a history.
func (s *source) remember(t *testing.T, pipeline string, eras ...history.Era) {
	t.Helper()
	p := broker.Partition{Topic: "persistent://" + s.namespace + "/" + history.Topic(pipeline)}
	if _, err := s.client.EnsureTopic(t.Context(), p.Topic, 1, nil); err != nil {
		t.Fatal(err)
	}
	producer, tail, err := s.client.Acquire(t.Context(), broker.AcquireRequest{Partition: p, Producer: "runnel-" + pipeline}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	text, err := history.Record{Pipeline: pipeline, Eras: eras}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	at := position.Stamp{Position: position.Position{Epoch: eras[len(eras)-1].Epoch}, Ordinal: tail.Stamp.Ordinal + 1}
	stored := make(chan error, 1)
	producer.Send(t.Context(), &broker.Outgoing{Payload: text, Properties: properties.List{{Name: "type", Value: history.EventType}, {Name: "position", Value: at.String()}}},
		func(_ broker.MessageID, err error) { stored <- err })
	if err := <-stored; err != nil {
		t.Fatal(err)
	}
}

// What the source database has lost after it was published is in a copy that applied it,
// which says so, and not in one that is built afterwards.
func TestLostEvents(t *testing.T) {
	s := onPulsar(t, 2)
	first := history.NewEra(1, "7", 1, 0, 0)
	s.remember(t, pipeline, first)
	w := &world{db: pgtest.New(t), scripted: newScripted(nil)}
	cfg := w.config(t)
	cfg.Broker, cfg.Namespace = consumers.BrokerConfig{}, s.namespace
	var log bytes.Buffer // slog's handlers write one record at a time
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	live := start(t, cfg, handleFold)
	all, kept := make(truth), make(truth)
	publish := func(partition int, n int64, key string, into ...truth) {
		e := OrderPlacedOld{N: n, Note: "n"}
		for _, want := range into {
			want.add(key, OrderPlaced{N: n, Note: "n", Amount: 7})
		}
		s.publish(t, partition, func(int) string { return key }, e)
	}
	for n := range int64(6) {
		into := []truth{all, kept}
		if n >= 4 {
			into = []truth{all} // lost: from LSN 40 on
		}
		publish(0, n, "a", into...)
		publish(1, n, "b", into...)
	}
	at := func(p0, p1 uint64) func() bool {
		return func() bool { p := w.positions(t); return p[0] == p0 && p[1] == p1 }
	}
	pgtest.Eventually(t, patience, at(6, 6), "all is applied")
	w.requireCopy(t, all)

	s.remember(t, pipeline, first, history.NewEra(2, "7", 2, 40, 40))
	s.stamps[0].Epoch, s.stamps[1].Epoch = 2, 2
	publish(0, 6, "a", all, kept)
	publish(1, 6, "b", all, kept)
	pgtest.Eventually(t, patience, at(7, 7), "the new epoch is applied")
	w.requireCopy(t, all)
	copies := func() []consumers.Copy {
		t.Helper()
		found, err := consumers.Copies(t.Context(), w.db.Conn(t), "fulfilment")
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if c := copies(); len(c) != 1 || !c[0].Diverged {
		t.Errorf("%+v", c)
	}
	live.stop(t)
	if n := strings.Count(log.String(), consumers.ErrDiverged.ID); n != 2 {
		t.Errorf("told %d times:\n%s", n, &log)
	}

	rebuilt := start(t, next(cfg), handleFold)
	w.isLive(t, 2)
	w.requireCopy(t, kept)
	publish(0, 7, "a", kept)
	pgtest.Eventually(t, patience, func() bool {
		all, err := consumers.Positions(t.Context(), w.db.Conn(t), "fulfilment")
		return err == nil && slices.ContainsFunc(all, func(p consumers.PartitionPosition) bool {
			return p.Version == 2 && p.Partition == 0 && p.Ordinal == 8
		})
	}, "it goes on")
	w.requireCopy(t, kept)
	for _, c := range copies() {
		if c.Diverged != (c.Version == 1) {
			t.Errorf("%+v", c)
		}
	}
	rebuilt.stop(t)

	// Nor does a replay give such an event to the handlers.
	p, err := consumers.New(next(cfg))
	if err != nil {
		t.Fatal(err)
	}
	handleFold(p)
	done, err := p.Replay(t.Context(), consumers.ReplayRange{Key: "a"}, true)
	if err != nil || done.Matched != 6 {
		t.Errorf("%+v, %v", done, err)
	}
}

package contract

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
)

func readers(s *scene) {
	if got := s.content(); len(got) != 0 {
		s.Fatalf("an empty partition holds %d messages", len(got))
	}
	s.fill(1, 50)
	all := s.content()
	s.holds(all, 1, 50)
	for _, i := range []int{0, 1, 25, 48, 49} {
		id := all[i].ID
		s.holds(s.read(broker.Start{After: &id}), i+2, 50)
		entry := broker.MessageID{Ledger: id.Ledger, Entry: id.Entry, Batch: -1}
		first, last := i, i
		for first > 0 && all[first-1].ID.Entry == id.Entry {
			first--
		}
		for last < len(all)-1 && all[last+1].ID.Entry == id.Entry {
			last++
		}
		s.holds(s.read(broker.Start{FromEntry: &entry}), first+1, 50)
		s.holds(s.read(broker.Start{After: &entry}), last+2, 50)
	}
	latest, err := s.client.Read(s.ctx, s.part, broker.Start{Latest: true})
	if err != nil {
		s.Fatal(err)
	}
	defer latest.Close()
	if more, err := latest.HasNext(s.ctx); more || err != nil {
		s.Fatalf("HasNext at the end: %v, %v", more, err)
	}
	short, cancel := context.WithTimeout(s.ctx, 50*time.Millisecond)
	defer cancel()
	if m, err := latest.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		s.Fatalf("Next at the end: %v, %v", m, err)
	}
	s.fill(51, 52)
	m, err := latest.Next(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	s.holds([]*broker.Incoming{m}, 51, 51)
}

// readerUnloaded unloads the topic while the reader is at its start, in the middle
// of a batch, at the end of one, and waits.
func readerUnloaded(s *scene) {
	s.fill(1, 500)
	r, err := s.client.Read(s.ctx, s.part, broker.Start{})
	if err != nil {
		s.Fatal(err)
	}
	defer r.Close()
	var all []*broker.Incoming
	read := func(until int) {
		s.Helper()
		for len(all) < until {
			m, err := r.Next(s.ctx)
			if err != nil {
				s.Fatalf("Next after %d messages: %v", len(all), err)
			}
			all = append(all, m)
		}
	}
	for _, at := range []int{0, 1, 7, 100, 499} {
		read(at)
		s.Unload(s.T, s.topic)
	}
	read(500)
	waits := make(chan error, 1)
	go func() {
		m, err := r.Next(s.ctx)
		all = append(all, m)
		waits <- err
	}()
	s.Unload(s.T, s.topic)
	s.fill(501, 520)
	if err := <-waits; err != nil {
		s.Fatalf("Next that waited: %v", err)
	}
	s.Unload(s.T, s.topic)
	read(520)
	s.holds(all, 1, 520)
	if more, err := r.HasNext(s.ctx); more || err != nil {
		s.Fatalf("HasNext at the end: %v, %v", more, err)
	}
}

// receive expects messages from..to.
func (s *scene) receive(c broker.Consumer, from, to int) []*broker.Incoming {
	s.Helper()
	var all []*broker.Incoming
	for range to - from + 1 {
		m, err := c.Receive(s.ctx)
		if err != nil {
			s.Fatalf("Receive: %v", err)
		}
		all = append(all, m)
	}
	s.holds(all, from, to)
	return all
}

func (s *scene) subscribe(c broker.Client) broker.Consumer {
	s.Helper()
	sub, err := c.Subscribe(s.ctx, s.part, "projection")
	if err != nil {
		s.Fatalf("Subscribe: %v", err)
	}
	return sub
}

// delivery is one message, and which consumer got it.
type delivery struct {
	who int
	m   *broker.Incoming
	n   int // ordinal
}

// pump receives until the consumer is closed.
func (s *scene) pump(who int, c broker.Consumer, out chan<- delivery) {
	for {
		m, err := c.Receive(s.ctx)
		if err != nil {
			s.Logf("consumer %d receives no more: %v", who, err)
			return
		}
		at, err := m.Stamp()
		if err != nil {
			s.Errorf("consumer %d received %v", who, err)
			return
		}
		select {
		case out <- delivery{who, m, int(at.Ordinal)}:
		case <-s.ctx.Done():
			return
		}
	}
}

// until takes deliveries until one consumer got messages from..to in order,
// and returns the last.
func (s *scene) until(in <-chan delivery, from, to int) delivery {
	s.Helper()
	next := map[int]int{}
	s.Logf("waiting for messages %d to %d", from, to)
	for {
		select {
		case d := <-in:
			want := max(next[d.who], from)
			if d.n > want {
				s.Fatalf("consumer %d received message %d, but not %d", d.who, d.n, want)
			}
			if d.n == want {
				next[d.who] = want + 1
			}
			if next[d.who] > to {
				return d
			}
		case <-s.ctx.Done():
			s.Fatalf("nobody received messages %d to %d: next are %v", from, to, next)
		}
	}
}

// failover does not say who becomes active: the broker chooses, and may choose
// again when a consumer joins. Nor does it say that the next one gets what is
// not acknowledged: Pulsar 4.0.8 under load sometimes delivers nothing until
// another message is published, and then that one without those before it.
// Package consumers reads the topic for that reason.
func failover(s *scene) {
	all := make(chan delivery)
	consumers := []broker.Consumer{s.subscribe(s.client), s.subscribe(s.Connect(s.T, "second"))}
	s.fill(1, 20)
	var pumps sync.WaitGroup
	for i, c := range consumers {
		pumps.Go(func() { s.pump(i, c, all) })
	}
	defer pumps.Wait()
	last := s.until(all, 1, 20) // from the earliest
	s.isActive(consumers[last.who])
	if consumers[1-last.who].Active() {
		s.Error("both consumers are active")
	}
	if err := consumers[last.who].Ack(last.m.ID); err != nil {
		s.Fatal(err)
	}
	consumers[last.who].Close()
	s.isActive(consumers[1-last.who])
	consumers[1-last.who].Close()
	// Alone, it gets everything that is not acknowledged.
	s.fill(21, 30)
	third := s.subscribe(s.client)
	defer third.Close()
	s.receive(third, 21, 30)
	s.isActive(third)
}

// isActive waits until a consumer knows that it is served.
func (s *scene) isActive(c broker.Consumer) {
	s.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !c.Active() {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			s.Fatal("no consumer became active")
		}
	}
}

func acknowledged(s *scene) {
	s.fill(1, 60)
	c := s.subscribe(s.client)
	got := s.receive(c, 1, 60)
	// In the middle of a batch only what is before the batch counts.
	middle := 30
	if err := c.Ack(got[middle].ID); err != nil {
		s.Fatal(err)
	}
	c.Close()
	from := middle
	if id := got[middle].ID; id.Batch+1 < id.BatchSize {
		for got[from-1].ID.Entry == id.Entry {
			from--
		}
		from--
	}
	c = s.subscribe(s.Connect(s.T, "second"))
	got = s.receive(c, from+2, 60)
	if err := c.Ack(got[len(got)-1].ID); err != nil {
		s.Fatal(err)
	}
	c.Close()
	s.fill(61, 62)
	c = s.subscribe(s.Connect(s.T, "third"))
	defer c.Close()
	s.receive(c, 61, 62)
}

// deleted begins anew with a subscription that was deleted, which one with a
// consumer can't be.
func deleted(s *scene) {
	s.fill(1, 10)
	c := s.subscribe(s.client)
	got := s.receive(c, 1, 10)
	if err := c.Ack(got[9].ID); err != nil {
		s.Fatal(err)
	}
	if err := s.client.DeleteSubscription(s.ctx, s.part.Topic, "projection"); !errors.Is(err, broker.ErrAdmin) {
		s.Fatalf("deleting a subscription with a consumer: %v", err)
	}
	c.Close()
	for range 2 { // the second time it is not there
		if err := s.client.DeleteSubscription(s.ctx, s.part.Topic, "projection"); err != nil {
			s.Fatal(err)
		}
	}
	c = s.subscribe(s.client)
	defer c.Close()
	s.receive(c, 1, 10)
	if err := s.client.DeleteSubscription(s.ctx, s.Missing(s.T), "projection"); err != nil {
		s.Fatalf("of no topic: %v", err)
	}
}

func topics(s *scene) {
	name := s.Missing(s.T)
	if created, err := s.Admin.EnsureTopic(s.ctx, name, 3, nil); !created || err != nil {
		s.Fatalf("EnsureTopic: %v, %v", created, err)
	}
	if created, err := s.Admin.EnsureTopic(s.ctx, name, 3, &broker.Retention{Time: time.Hour}); created || err != nil {
		s.Fatalf("EnsureTopic again: %v, %v", created, err)
	}
	if _, err := s.Admin.EnsureTopic(s.ctx, name, 4, nil); !errors.Is(err, broker.ErrPartitionCount) {
		s.Fatalf("EnsureTopic with another number: %v", err)
	}
	state, err := s.Admin.CheckTopic(s.ctx, name)
	if err != nil || state.Partitions != 3 || !state.Deduplication || state.MaxMessageSize <= 0 {
		s.Fatalf("CheckTopic: %+v, %v", state, err)
	}
	if _, err := s.Admin.CheckTopic(s.ctx, name+"-not"); !errors.Is(err, broker.ErrTopicMissing) {
		s.Fatalf("CheckTopic of a missing one: %v", err)
	}
	if _, err := s.Admin.EnsureTopic(s.ctx, "order", 4, nil); !errors.Is(err, broker.ErrConfig) {
		s.Fatalf("EnsureTopic without a namespace: %v", err)
	}
	if err := s.Admin.Health(s.ctx); err != nil {
		s.Fatal(err)
	}
	if cluster, err := s.Admin.ClusterName(s.ctx); cluster == "" || err != nil {
		s.Fatalf("ClusterName: %q, %v", cluster, err)
	}
}

func namespaces(s *scene) {
	namespace := strings.Join(strings.Split(strings.TrimPrefix(s.topic, "persistent://"), "/")[:2], "/")
	if have, err := s.Admin.CheckNamespace(s.ctx, namespace, broker.NamespacePolicy{}); len(have) > 0 || err != nil {
		s.Fatalf("deviations of a fresh namespace: %v, %v", have, err)
	}
	week := broker.NamespacePolicy{Retention: broker.Retention{Time: 7 * 24 * time.Hour}}
	if have, err := s.Admin.CheckNamespace(s.ctx, namespace, week); len(have) != 1 || have[0].Policy != "retention" || !have[0].Deletes || err != nil {
		s.Fatalf("deviations: %+v, %v", have, err)
	}
	if have, err := s.Admin.CheckNamespace(s.ctx, namespace+"-not", week); len(have) != 1 || err != nil {
		s.Fatalf("deviations of a missing namespace: %v, %v", have, err)
	}
	for round, want := range []int{1, 0} {
		if changed, err := s.Admin.EnsureNamespace(s.ctx, namespace, week); len(changed) != want || err != nil {
			s.Fatalf("round %d changed %v, %v", round, changed, err)
		}
	}
	if have, err := s.Admin.CheckNamespace(s.ctx, namespace, broker.NamespacePolicy{}); len(have) != 1 || have[0].Deletes || err != nil {
		s.Fatalf("a longer retention: %+v, %v", have, err)
	}
}

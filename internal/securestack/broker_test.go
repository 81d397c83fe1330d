package securestack_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/properties"
)

// message is the n-th of a partition.
func message(n int, s *broker.Schema) *broker.Outgoing {
	at := position.Stamp{Position: position.Position{Epoch: 1, LSN: uint64(n)}, Ordinal: uint64(n)}
	return &broker.Outgoing{Key: "k", Payload: []byte{2}, Schema: s,
		Properties: properties.List{{Name: position.Property, Value: at.String()}}}
}

// publish sends a message and waits for its acknowledgement.
func publish(t *testing.T, p broker.Producer, m *broker.Outgoing) error {
	t.Helper()
	done := make(chan error, 1)
	p.Send(t.Context(), m, func(_ broker.MessageID, err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		return errors.New("no acknowledgement")
	}
}

func acquire(t *testing.T, p *broker.Pulsar, part broker.Partition, s *broker.Schema) (broker.Producer, broker.Tail, error) {
	return p.Acquire(t.Context(), broker.AcquireRequest{Partition: part, Producer: "runnel-test", Schema: s}, nil)
}

// A live connection outlives its token when the file has a newer one in time,
// and ends when it has not.
func TestTokenExpiresWhileConnected(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	name, schema := topic(t, namespace(t), "order", 1)
	part := broker.Partition{Topic: name}
	f := token(t, daemon)
	expires := time.Now().Add(4 * time.Second)
	f.write(daemon, expires)
	p := dial(t, with(f))
	if id, ok := p.Identity(); !ok || id.Subject != daemon || id.Expires.Unix() != expires.Unix() {
		t.Errorf("%+v", id)
	}
	producer, _, err := acquire(t, p, part, schema)
	if err != nil {
		t.Fatal(err)
	}
	if err := publish(t, producer, message(1, schema)); err != nil {
		t.Fatal(err)
	}

	// Replaced in time.
	second := time.Now().Add(8 * time.Second)
	f.write(daemon, second)
	n := 1
	for time.Now().Before(expires.Add(2500 * time.Millisecond)) {
		n++
		if err := publish(t, producer, message(n, schema)); err != nil {
			t.Fatal("after the first token expired:", err)
		}
		tick(ctx, 200*time.Millisecond)
	}

	// Not replaced.
	select {
	case <-producer.Lost():
		t.Logf("lost %v after the second token expired: %v", time.Since(second), producer.Err())
		if time.Now().Before(second.Truncate(time.Second)) {
			t.Error("lost too early")
		}
	case <-ctx.Done():
		t.Fatal("the connection outlives its token")
	}
	producer.Close()
	_, err = broker.Dial(ctx, with(f))
	must(t, "an expired token", err, broker.ErrUnauthorized, "read again by itself")
	if !strings.Contains(err.Error(), `of "`+daemon+`", expired at `) {
		t.Errorf("%v does not say that the token expired", err)
	}

	// A file that is being replaced.
	f.write(daemon, time.Time{})
	again := dial(t, with(f))
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	if err := again.Health(ctx); err != nil {
		t.Error("while the file is absent:", err)
	}
	_, err = broker.Dial(ctx, with(f))
	must(t, "no file", err, broker.ErrTokenFile, "in one line")
	f.write(daemon, time.Time{})
	producer, tail, err := acquire(t, again, part, schema)
	if err != nil || tail.Stamp.Ordinal != uint64(n) {
		t.Fatal(tail, err)
	}
	producer.Close()
}

// tick waits, as an event that comes at intervals would.
func tick(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// Taking a permission away ends who uses it, at once.
func TestGrantIsTakenAway(t *testing.T) {
	ns := namespace(t)
	name, schema := topic(t, ns, "order", 1)
	part := broker.Partition{Topic: name}
	p := dial(t, as(t, daemon))
	producer, _, err := acquire(t, p, part, schema)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	if err := publish(t, producer, message(1, schema)); err != nil {
		t.Fatal(err)
	}
	grant(t, ns, daemon)
	select {
	case <-producer.Lost():
		t.Log(producer.Err())
	case <-time.After(20 * time.Second):
		t.Fatal("the producer keeps its right")
	}
	_, _, err = acquire(t, p, part, schema)
	must(t, "the grant is gone", err, broker.ErrForbidden, "doctor --check broker-grants")
	grant(t, ns, daemon, "consume")
	eventually(t, "a producer's right alone to be missing", func() bool {
		a, err := p.May(t.Context(), broker.Consume, ns, []string{name})
		return err == nil && len(a.MayNot) == 0
	})
	_, _, err = acquire(t, p, part, schema)
	must(t, "consume alone", err, broker.ErrForbidden, "doctor --check broker-grants")
	grant(t, ns, daemon, "produce", "consume")
	eventually(t, "the right to be back", func() bool {
		again, tail, err := acquire(t, p, part, schema)
		if err != nil {
			return false
		}
		again.Close()
		return tail.Stamp.Ordinal == 1
	})
}

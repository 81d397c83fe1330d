package broker_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/broker/brokertest"
)

func TestFaultsAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range broker.Faults {
		if seen[f.ID] || f.Cause == "" || f.Remedy == "" || strings.ToUpper(f.ID) != f.ID {
			t.Errorf("%+v", f)
		}
		seen[f.ID] = true
	}
}

// The client drops a message that the broker refuses without a word; a policy
// that shrinks while messages are under way must still stop the producer at
// once, and name the reason. The hole it may leave is found by the next run.
func TestPolicyShrinksWhileSending(t *testing.T) {
	p, r := killScene(t)
	q, _, err := p.Acquire(t.Context(), broker.AcquireRequest{Partition: broker.Partition{Topic: r.Topic}, Producer: "runnel-kill-0", Schema: &r.Schema}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	call(t, p, http.MethodPost, path(r.Topic)+"/maxMessageSize", 1000)
	eventually(t, "the policy is in effect", func() bool {
		n, err := p.MaxMessageSize(t.Context(), r.Topic)
		return err == nil && n == 1000
	})
	errs := make(chan error, 1000)
	total := 0
	send := func(n uint64, size int) {
		m := childMessage(n, &r.Schema)
		m.Payload = make([]byte, size)
		total++
		q.Send(t.Context(), m, func(_ broker.MessageID, err error) { errs <- err })
	}
	send(1, 10)
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	send(2, 5000)
	<-q.Lost()
	if !errors.Is(q.Err(), broker.ErrTooLarge) {
		t.Fatalf("Err: %v", q.Err())
	}
	if err := <-errs; !errors.Is(err, broker.ErrTooLarge) {
		t.Fatalf("callback: %v", err)
	}
	send(3, 10)
	if err := <-errs; !errors.Is(err, broker.ErrStopped) {
		t.Fatalf("callback after the end: %v", err)
	}
	q.Close()
	verifyTopic(t, p, r.Topic, 1)
}

// A consumer far behind, and a quota that refuses producers.
func TestQuota(t *testing.T) {
	p, r := killScene(t)
	c, err := p.Subscribe(t.Context(), broker.Partition{Topic: r.Topic}, "slow")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	until := r
	until.Until = 1000
	if err := publish(t.Context(), p, until, func(uint64) {}); err != nil {
		t.Fatal(err)
	}
	for _, policy := range []string{"producer_exception", "producer_request_hold"} {
		t.Run(policy, func(t *testing.T) {
			call(t, p, http.MethodPost, path(r.Topic)+"/backlogQuota?backlogQuotaType=destination_storage",
				map[string]any{"limitSize": 10, "limit": 10, "policy": policy})
			eventually(t, "the quota refuses producers", func() bool {
				q, _, err := p.Acquire(t.Context(), broker.AcquireRequest{Partition: broker.Partition{Topic: r.Topic}, Producer: "runnel-kill-0", Schema: &r.Schema, Replayed: nth(2000).Position}, nil)
				if err == nil {
					q.Close()
					return false
				}
				if !errors.Is(err, broker.ErrQuota) {
					t.Fatal(err)
				}
				return true
			})
		})
	}
}

// A foreign producer that is connected keeps Runnel out, by name.
func TestForeignProducerIsNamed(t *testing.T) {
	p, r := killScene(t)
	raw := rawProducer(t, brokertest.Config(t), broker.Partition{Topic: r.Topic}, "stranger", &r.Schema)
	told := make(chan string, 10)
	q, _, err := p.Acquire(t.Context(), broker.AcquireRequest{Partition: broker.Partition{Topic: r.Topic}, Producer: "runnel-kill-0", Schema: &r.Schema}, func(holder string) {
		told <- holder
		raw.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	q.Close()
	if holder := <-told; !strings.Contains(holder, "stranger at 127.0.0.1:") {
		t.Fatalf("the holder is %q", holder)
	}
}

// A terminated topic tells a producer that is sending.
func TestTerminatedWhileSending(t *testing.T) {
	p, r := killScene(t)
	ended := make(chan error, 1)
	go func() { ended <- publish(t.Context(), p, r, func(uint64) {}) }()
	eventually(t, "messages flow", func() bool {
		var stats struct {
			Count int64 `json:"msgInCounter"`
		}
		err := brokertest.Call(t.Context(), p, http.MethodGet, path(r.Topic)+"-partition-0/stats", nil, &stats)
		return err == nil && stats.Count > 1000
	})
	call(t, p, http.MethodPost, path(r.Topic)+"/terminate/partitions", nil)
	// An add that the ledger's closing overtakes is refused as "fenced".
	err := <-ended
	if !errors.Is(err, broker.ErrTopicTerminated) && !errors.Is(err, broker.ErrLost) && !errors.Is(err, broker.ErrNotReady) {
		t.Fatal(err)
	}
	eventually(t, "the next run learns it", func() bool {
		_, _, err := p.Acquire(t.Context(), broker.AcquireRequest{Partition: broker.Partition{Topic: r.Topic}, Producer: "runnel-kill-0", Schema: &r.Schema}, nil)
		if !errors.Is(err, broker.ErrTopicTerminated) && !errors.Is(err, broker.ErrNotReady) {
			t.Fatal(err)
		}
		return errors.Is(err, broker.ErrTopicTerminated)
	})
}

// Closing a connection ends everything on it, and nothing hangs.
func TestClosedConnection(t *testing.T) {
	p, r := killScene(t)
	part := broker.Partition{Topic: r.Topic}
	other := brokertest.Dial(t)
	q, _, err := other.Acquire(t.Context(), broker.AcquireRequest{Partition: part, Producer: "runnel-kill-0", Schema: &r.Schema}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := other.Subscribe(t.Context(), part, "sub")
	if err != nil {
		t.Fatal(err)
	}
	reader, err := other.Read(t.Context(), part, broker.Start{})
	if err != nil {
		t.Fatal(err)
	}
	received := make(chan error, 2)
	go func() { _, err := c.Receive(t.Context()); received <- err }()
	go func() { _, err := reader.Next(t.Context()); received <- err }()
	other.Close()
	for range 2 {
		if err := <-received; !errors.Is(err, broker.ErrLost) {
			t.Errorf("receiving: %v", err)
		}
	}
	sent := make(chan error, 1)
	q.Send(t.Context(), childMessage(1, &r.Schema), func(_ broker.MessageID, err error) { sent <- err })
	if err := <-sent; !errors.Is(err, broker.ErrStopped) {
		t.Errorf("sending: %v", err)
	}
	for i, call := range []func() error{
		func() error { _, err := other.Read(t.Context(), part, broker.Start{}); return err },
		func() error { _, err := other.Subscribe(t.Context(), part, "sub"); return err },
		func() error {
			_, _, err := other.Acquire(t.Context(), broker.AcquireRequest{Partition: part, Producer: "x", Schema: &r.Schema}, nil)
			return err
		},
	} {
		if err := call(); !errors.Is(err, broker.ErrLost) {
			t.Errorf("call %d on a closed connection: %v", i, err)
		}
	}
	verifyTopic(t, p, r.Topic, 0)
}

// Deviations come with the command that corrects them.
func TestNamespaceDeviations(t *testing.T) {
	p := brokertest.Dial(t)
	namespace := brokertest.Namespace(t, p)
	want := broker.NamespacePolicy{Retention: broker.Retention{Bytes: 1 << 30}}
	for _, c := range []struct {
		method, path string
		body         any
	}{
		{http.MethodPost, "deduplication", false},
		{http.MethodPut, "schemaCompatibilityStrategy", "FULL"},
		{http.MethodPost, "isAllowAutoUpdateSchema", true},
		{http.MethodPost, "schemaValidationEnforced", false},
		{http.MethodPost, "autoTopicCreation", map[string]any{"allowAutoTopicCreation": true, "topicType": "non-partitioned"}},
		{http.MethodDelete, "inactiveTopicPolicies", nil},
	} {
		call(t, p, c.method, "/namespaces/"+namespace+"/"+c.path, c.body)
	}
	have, err := p.CheckNamespace(t.Context(), namespace, want)
	if err != nil || len(have) != 7 {
		t.Fatalf("%v, %v", have, err)
	}
	for _, d := range have {
		if !strings.Contains(d.Fix, namespace) || d.Have == d.Want || d.Fatal == (d.Policy == "retention") {
			t.Errorf("%+v", d)
		}
	}
	if text := fmt.Sprint(have); !strings.Contains(text, "time -1, size 1024M") {
		t.Error(text)
	}
	if changed, err := p.EnsureNamespace(t.Context(), namespace, want); len(changed) != 7 || err != nil {
		t.Fatalf("%v, %v", changed, err)
	}
	if have, err := p.CheckNamespace(t.Context(), namespace, want); len(have) != 0 || err != nil {
		t.Fatalf("%v, %v", have, err)
	}
}

package memory_test

import (
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/broker/contract"
	"github.com/runnel-cdc/runnel/internal/broker/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) { contract.Run(t, fixture) }

func fixture(t *testing.T) contract.Fixture {
	b := memory.New()
	const namespace = "public/contract"
	if _, err := b.EnsureNamespace(t.Context(), namespace, broker.NamespacePolicy{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	topics := 0
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	missing := func(*testing.T) string {
		topics++
		return fmt.Sprintf("persistent://%s/topic-%d", namespace, topics)
	}
	return contract.Fixture{
		Connect: func(t *testing.T, name string) broker.Client {
			c := b.Connect(name)
			t.Cleanup(c.Close)
			return c
		},
		Admin: b,
		Topic: func(t *testing.T, partitions int) string {
			name := missing(t)
			_, err := b.EnsureTopic(t.Context(), name, partitions, nil)
			must(t, err)
			return name
		},
		Schema: func(t *testing.T, topic, name, definition string) *broker.Schema {
			s, err := b.RegisterSchema(topic, name, definition)
			must(t, err)
			return s
		},
		Missing: missing,
		Unparted: func(t *testing.T) string {
			name := missing(t)
			b.CreateUnpartitioned(name)
			return name
		},
		Publish: func(t *testing.T, p broker.Partition, producer string, all ...*broker.Outgoing) {
			for _, m := range all {
				must(t, b.LateAdd(p, producer, m))
			}
		},
		SetMaxMessageSize: func(t *testing.T, topic string, bytes int) { must(t, b.SetMaxMessageSize(topic, bytes)) },
		SetDeduplication:  func(t *testing.T, topic string, on bool) { must(t, b.SetDeduplication(topic, on)) },
		Unload:            func(t *testing.T, topic string) { must(t, b.Unload(topic)) },
		Terminate:         func(t *testing.T, topic string) { must(t, b.Terminate(topic)) },
	}
}

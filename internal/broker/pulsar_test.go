package broker_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/log"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/broker/brokertest"
	"github.com/runnel-cdc/runnel/internal/broker/contract"
)

func TestContract(t *testing.T) {
	cfg := brokertest.Config(t)
	contract.Run(t, func(t *testing.T) contract.Fixture { return pulsarFixture(t, cfg) })
}

func pulsarFixture(t *testing.T, cfg broker.Config) contract.Fixture {
	admin := brokertest.Dial(t)
	namespace := brokertest.Namespace(t, admin)
	var topics atomic.Int32
	missing := func(*testing.T) string {
		return fmt.Sprintf("persistent://%s/topic-%d", namespace, topics.Add(1))
	}
	// Connections close before the namespace goes.
	return contract.Fixture{
		Connect: func(t *testing.T, name string) broker.Client {
			cfg := cfg
			cfg.Name = name
			return brokertest.DialConfig(t, cfg)
		},
		Admin: admin,
		Topic: func(t *testing.T, partitions int) string {
			topic := missing(t)
			if _, err := admin.EnsureTopic(t.Context(), topic, partitions, nil); err != nil {
				t.Fatal(err)
			}
			return topic
		},
		Schema: func(t *testing.T, topic, name, definition string) *broker.Schema {
			return brokertest.RegisterSchema(t, admin, topic, name, definition)
		},
		Missing: missing,
		Unparted: func(t *testing.T) string {
			topic := missing(t)
			call(t, admin, http.MethodPut, path(topic), nil)
			return topic
		},
		Publish: func(t *testing.T, p broker.Partition, producer string, all ...*broker.Outgoing) {
			publishRaw(t, cfg, p, producer, all)
		},
		SetMaxMessageSize: func(t *testing.T, topic string, bytes int) {
			call(t, admin, http.MethodPost, path(topic)+"/maxMessageSize", bytes)
			eventually(t, "the size limit is in effect", func() bool {
				n, err := admin.MaxMessageSize(t.Context(), topic)
				return err == nil && n == bytes
			})
		},
		SetDeduplication: func(t *testing.T, topic string, on bool) {
			call(t, admin, http.MethodPost, path(topic)+"/deduplicationEnabled", on)
			want := map[bool]string{true: "Enabled", false: "Disabled"}[on]
			eventually(t, "deduplication is "+want, func() bool {
				var stats struct {
					Status string `json:"deduplicationStatus"`
				}
				err := brokertest.Call(t.Context(), admin, http.MethodGet, path(topic)+"-partition-1/stats", nil, &stats)
				return err == nil && stats.Status == want
			})
		},
		Unload: func(t *testing.T, topic string) { call(t, admin, http.MethodPut, path(topic)+"/unload", nil) },
		Terminate: func(t *testing.T, topic string) {
			call(t, admin, http.MethodPost, path(topic)+"/terminate/partitions", nil)
		},
	}
}

func path(topic string) string { return "/persistent/" + strings.TrimPrefix(topic, "persistent://") }

func call(t *testing.T, admin broker.Admin, method, path string, body any) {
	t.Helper()
	if err := brokertest.Call(t.Context(), admin, method, path, body, nil); err != nil {
		t.Fatal(err)
	}
}

// eventually polls a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// publishRaw sends with the bare client, one entry per message.
func publishRaw(t *testing.T, cfg broker.Config, p broker.Partition, producer string, all []*broker.Outgoing) {
	t.Helper()
	r := rawProducer(t, cfg, p, producer, all[0].Schema)
	defer r.Close()
	for _, m := range all {
		_, err := r.Send(t.Context(), &pulsar.ProducerMessage{Key: m.Key, Payload: m.Payload, Properties: m.Properties.Map(), EventTime: m.EventTime})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func rawProducer(t *testing.T, cfg broker.Config, p broker.Partition, name string, s *broker.Schema) pulsar.Producer {
	t.Helper()
	client, err := pulsar.NewClient(pulsar.ClientOptions{URL: cfg.URL, Logger: log.DefaultNopLogger(), MetricsRegisterer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	options := pulsar.ProducerOptions{Topic: p.String(), Name: name, SendTimeout: -1} // with a timeout the client leaks a goroutine
	if s != nil {
		options.Schema = pulsar.NewAvroSchema(s.JSON, nil)
	}
	r, err := client.CreateProducer(options)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

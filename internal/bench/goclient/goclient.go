// Package goclient publishes by the Pulsar client for Go alone, as fast as it can: what a
// publisher could have, who kept no promise. Start with Publish.
package goclient

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/prometheus/client_golang/prometheus"
)

// Options say what to publish, and where.
type Options struct {
	URL        string
	Topic      string // partitioned, and there
	Partitions int
	Messages   int
	Bytes      int // of each payload
	Properties int // of each message, 40 bytes each
}

// Publish publishes the messages to the partitions in turn, and returns how long that took
// from the first to the last acknowledgement.
func Publish(ctx context.Context, o Options) (time.Duration, error) {
	client, err := pulsar.NewClient(pulsar.ClientOptions{URL: o.URL, MetricsRegisterer: prometheus.NewRegistry(), MetricsCardinality: pulsar.MetricsCardinalityNone})
	if err != nil {
		return 0, err
	}
	defer client.Close()
	var producers []pulsar.Producer
	for i := range o.Partitions {
		p, err := client.CreateProducer(pulsar.ProducerOptions{
			Topic: fmt.Sprintf("%s-partition-%d", o.Topic, i), MaxPendingMessages: 16384,
			BatchingMaxPublishDelay: time.Millisecond, BatchingMaxMessages: 1000, BatchingMaxSize: 128 << 10,
		})
		if err != nil {
			return 0, err
		}
		defer p.Close()
		producers = append(producers, p)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var first error
	done := func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
		if err != nil {
			mu.Lock()
			first = err
			mu.Unlock()
		}
		all.Done()
	}
	payload := make([]byte, o.Bytes)
	began := time.Now()
	for n := range o.Messages {
		m := &pulsar.ProducerMessage{Payload: payload, Key: "order-" + strconv.Itoa(n%10_000), EventTime: began}
		if o.Properties > 0 {
			m.Properties = make(map[string]string, o.Properties)
			for i := range o.Properties {
				m.Properties["property-"+strconv.Itoa(i)] = "01890a5d-ac96-774b-bcce-b302" + strconv.Itoa(n)
			}
		}
		all.Add(1)
		producers[n%len(producers)].SendAsync(ctx, m, done)
	}
	for _, p := range producers {
		if err := p.FlushWithCtx(ctx); err != nil {
			return 0, err
		}
	}
	all.Wait()
	return time.Since(began), first
}

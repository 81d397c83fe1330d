package bench

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/runnel-cdc/runnel/internal/bench/goclient"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/wire"
)

// Client is how fast Pulsar's client for Go publishes payloads of the same size, with nothing
// to decode or to promise.
type Client struct {
	Properties int // of each message
	Rate       float64
	CPU        time.Duration // of the client, per message
}

// clientPartitions are as many as a topic of the daemon has by default.
const clientPartitions = 8

func (r *rig) client(ctx context.Context, properties int) (c Client, err error) {
	name := fmt.Sprintf("client_%d", properties)
	admin, err := r.dial(ctx)
	if err != nil {
		return c, err
	}
	defer admin.Close()
	if _, err := admin.EnsureNamespace(ctx, namespace(name), broker.NamespacePolicy{}); err != nil {
		return c, err
	}
	topic := wire.TopicName(namespace(name), "order")
	if _, err := admin.EnsureTopic(ctx, topic, clientPartitions, nil); err != nil {
		return c, err
	}
	before := ownCPU()
	took, err := goclient.Publish(ctx, goclient.Options{URL: r.stack.PulsarURL, Topic: topic, Partitions: clientPartitions,
		Messages: r.Rows, Bytes: payloadBytes, Properties: properties})
	return Client{properties, float64(r.Rows) / took.Seconds(), (ownCPU() - before) / time.Duration(r.Rows)}, err
}

// ownCPU is what this process has used so far.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

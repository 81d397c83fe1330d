package bench

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/wire"
)

// verify requires that the topic holds the rows with the numbers 0 to n-1, each once, and
// those of one aggregate in their order.
func (r *rig) verify(ctx context.Context, pipeline string, n int) error {
	client, err := r.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	topic := wire.TopicName(namespace(pipeline), "order")
	partitions, err := client.Partitions(ctx, topic)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	seen := make([][]uint64, partitions)
	for i := range partitions {
		group.Go(func() (err error) {
			seen[i], err = readNumbers(ctx, client, broker.Partition{Topic: topic, Index: i}, n)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for k := range n {
		times := 0
		for _, s := range seen {
			times += int(s[k/64] >> (k % 64) & 1)
		}
		if times != 1 {
			return fmt.Errorf("void: row %d is in %d partitions of %s", k, times, topic)
		}
	}
	return nil
}

// readNumbers returns which rows a partition holds, as one bit each.
func readNumbers(ctx context.Context, client *broker.Pulsar, p broker.Partition, n int) ([]uint64, error) {
	reader, err := client.Read(ctx, p, broker.Start{})
	if err != nil {
		return nil, err
	}
	seen, last := make([]uint64, n/64+1), make(map[string]int)
	return seen, broker.ReadRest(ctx, reader, func(m *broker.Incoming) error {
		k, err := numberOf(m.Payload)
		switch {
		case err != nil || k >= n:
			return fmt.Errorf("void: %s holds a message that nobody wrote: %w", p, err)
		case seen[k/64]>>(k%64)&1 != 0:
			return fmt.Errorf("void: row %d is twice in %s", k, p)
		}
		seen[k/64] |= 1 << (k % 64)
		if before, ok := last[m.Key]; ok && before > k {
			return fmt.Errorf("void: row %d comes behind row %d of %s in %s", k, before, m.Key, p)
		}
		last[m.Key] = k
		return nil
	})
}

// numberOf finds a row's number in its payload, in whatever encoding.
func numberOf(payload []byte) (int, error) {
	i := bytes.Index(payload, []byte(mark))
	if i < 0 || len(payload) < i+len(mark)+digits {
		return 0, fmt.Errorf("no number in a payload of %d bytes", len(payload))
	}
	i += len(mark)
	return strconv.Atoi(string(payload[i : i+digits]))
}

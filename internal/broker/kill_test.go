package broker_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/broker/brokertest"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/properties"
)

// The tests of this file publish from other processes, which they kill or
// pause at full speed: this binary, run again with childVariable set.

const childVariable = "RUNNEL_TEST_PUBLISH"

// publishRequest is what a child is told.
type publishRequest struct {
	URL, AdminURL, Topic string
	Schema               broker.Schema
	Confirmed            uint64 // everything up to this ordinal is confirmed
	Until                uint64
}

// child's messages: position and ordinal follow from n.
func nth(n uint64) position.Stamp {
	return position.Stamp{Position: position.Position{Epoch: 1, LSN: n / 7 * 100, Index: uint32(n % 7)}, Ordinal: n}
}

// publishAsChild publishes from the tail on, without end, and prints each
// thousandth acknowledgement. It returns 0 when its producer was lost.
func publishAsChild(text string) int {
	var r publishRequest
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		fmt.Println("error", err)
		return 1
	}
	p, err := broker.Dial(context.Background(), broker.Config{URL: r.URL, AdminURL: r.AdminURL, Name: "child"})
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	err = publish(context.Background(), p, r, func(n uint64) {
		if n%1000 == 0 {
			fmt.Println("acked", n)
		}
	})
	if errors.Is(err, broker.ErrLost) || errors.Is(err, broker.ErrNotOwner) {
		fmt.Println("lost", err)
		return 0
	}
	fmt.Println("error", err)
	return 1
}

// publish acquires, verifies what is there above the confirmed ordinal, skips
// it and sends the rest: a run of the daemon in small.
func publish(ctx context.Context, p broker.Client, r publishRequest, acked func(uint64)) error {
	request := broker.AcquireRequest{Partition: broker.Partition{Topic: r.Topic}, Producer: "runnel-kill-0", Schema: &r.Schema, Replayed: nth(r.Confirmed + 1).Position}
	q, tail, err := p.Acquire(ctx, request, nil)
	if err != nil {
		return err
	}
	defer q.Close()
	var want position.Digest
	for n := r.Confirmed + 1; n <= tail.Stamp.Ordinal; n++ {
		want.Add(nth(n).Position)
	}
	if tail.ReadBack != want || tail.Stamp.Ordinal < r.Confirmed {
		return fmt.Errorf("confirmed %d, tail %v, digest %v, want %v", r.Confirmed, tail.Stamp, tail.ReadBack, want)
	}

	failed := make(chan error, 1)
	first := tail.Stamp.Ordinal + 1
	last := make(chan struct{})
	probe := make(chan struct{})
	for n := first; n <= r.Until; n++ {
		q.Send(ctx, childMessage(n, &r.Schema), func(_ broker.MessageID, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
				return
			}
			acked(n)
			if n == first {
				close(probe)
			}
			if n == r.Until {
				close(last)
			}
		})
		select {
		case err := <-failed:
			return err
		default:
		}
		if n == first {
			select {
			case <-probe:
			case err := <-failed:
				return err
			}
		}
	}
	if first > r.Until {
		return nil
	}
	select {
	case <-last:
		return nil
	case err := <-failed:
		return err
	}
}

func childMessage(n uint64, s *broker.Schema) *broker.Outgoing {
	return &broker.Outgoing{
		Key: strconv.FormatUint(n%97, 10), Payload: []byte("\x06abc"), Schema: s, EventTime: time.UnixMilli(int64(n)),
		Properties: properties.List{{Name: position.Property, Value: nth(n).String()}, {Name: "id", Value: strconv.FormatUint(n, 10)}, {Name: "type", Value: "Event"}},
	}
}

// child is a publishing process.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func startChild(t *testing.T, r publishRequest) *child {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return &child{cmd, bufio.NewScanner(out)}
}

// acked reads the child's output until it had n lines of acknowledgements, or
// its end; it returns the last ordinal acknowledged, and the last line.
func (c *child) acked(t *testing.T, n int) (last uint64, line string) {
	t.Helper()
	for n > 0 && c.lines.Scan() {
		line = c.lines.Text()
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "acked":
			last, _ = strconv.ParseUint(rest, 10, 64)
			n--
		case "error":
			t.Fatalf("the child reports %s", rest)
		}
	}
	return last, line
}

// lastWords reads the child's output to its end, or until something later than
// the given ordinal was acknowledged, and returns the last line.
func (c *child) lastWords(until uint64) (line string) {
	for c.lines.Scan() {
		line = c.lines.Text()
		if n, err := strconv.ParseUint(strings.TrimPrefix(line, "acked "), 10, 64); err == nil && n > until {
			break
		}
	}
	return line
}

func killScene(t *testing.T) (*broker.Pulsar, publishRequest) {
	cfg := brokertest.Config(t)
	p := brokertest.Dial(t)
	topic := brokertest.Topic(t, p, brokertest.Namespace(t, p), "kill", 1)
	s := brokertest.RegisterSchema(t, p, topic, "Event", `{"type":"record","name":"Event","fields":[{"name":"a","type":"string"}]}`)
	return p, publishRequest{URL: cfg.URL, AdminURL: cfg.AdminURL, Topic: topic, Schema: *s, Until: 1 << 40}
}

// verify reads the topic raw: messages 1..n, each once, in order.
func verifyTopic(t *testing.T, p broker.Client, topic string, n uint64) {
	t.Helper()
	r, err := p.Read(t.Context(), broker.Partition{Topic: topic}, broker.Start{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for want := uint64(1); ; want++ {
		more, err := r.HasNext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			if want != n+1 {
				t.Fatalf("the topic holds %d messages, want %d", want-1, n)
			}
			return
		}
		m, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if at, err := m.Stamp(); err != nil || at != nth(want) || m.Properties["id"] != strconv.FormatUint(want, 10) {
			t.Fatalf("message %d is %v, %v", want, at, err)
		}
	}
}

// A publisher killed at full speed leaves a prefix; its successors go on
// behind it. Faults 3, 4 and 6 of the catalogue, many times.
func TestKilledPublisher(t *testing.T) {
	p, r := killScene(t)
	gained := uint64(0) // stored, though nobody knew
	for _, acks := range []int{0, 10, 20, 30} {
		c := startChild(t, r)
		confirmed, _ := c.acked(t, acks)
		if err := c.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		// What it still printed was acknowledged, too.
		if late, _ := c.acked(t, 1<<30); late > 0 {
			confirmed = late
		}
		_ = c.cmd.Wait()
		r.Confirmed = max(r.Confirmed, confirmed)
		before := r.Confirmed
		if err := publish(t.Context(), p, publishRequest{Topic: r.Topic, Schema: r.Schema, Confirmed: before, Until: before}, nil); err != nil {
			t.Fatal(err)
		}
		gained += tailOrdinal(t, p, r) - before
	}
	if r.Confirmed < 30_000 || gained == 0 {
		t.Fatalf("vacuous: %d confirmed, %d stored beyond", r.Confirmed, gained)
	}
	end := tailOrdinal(t, p, r) + 10_000
	last := r
	last.Until = end
	if err := publish(t.Context(), p, last, func(uint64) {}); err != nil {
		t.Fatal(err)
	}
	verifyTopic(t, p, r.Topic, end)
	t.Logf("%d messages, %d of them stored without being known as acknowledged before a kill", end, gained)
}

func tailOrdinal(t *testing.T, p broker.Client, r publishRequest) uint64 {
	t.Helper()
	q, tail, err := p.Acquire(t.Context(), broker.AcquireRequest{Partition: broker.Partition{Topic: r.Topic}, Producer: "runnel-kill-0", Schema: &r.Schema, Replayed: nth(1 << 40).Position}, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Close()
	return tail.Stamp.Ordinal
}

// Fault 7: a publisher paused until the broker drops it, resumed while its
// successor publishes, adds nothing and stops.
func TestPausedPublisher(t *testing.T) {
	p, r := killScene(t)
	c := startChild(t, r)
	confirmed, _ := c.acked(t, 5)
	if err := c.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	r.Confirmed = confirmed
	r.Until = confirmed + 20_000
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	said := make(chan string, 1) // the paused publisher's last words, or too many
	resumed := false
	err := publish(ctx, p, r, func(n uint64) {
		if n > r.Until-10_000 && !resumed {
			resumed = true
			_ = c.cmd.Process.Signal(syscall.SIGCONT)
			go func() { said <- c.lastWords(r.Until) }()
		}
		if n == r.Until {
			// It stops while its successor is there. Were it to wait instead, it
			// would be the next in the broker's queue by then.
			select {
			case line := <-said:
				said <- line
			case <-time.After(5 * time.Second):
			}
		}
	})
	if err != nil || !resumed {
		t.Fatal(err, resumed)
	}
	if line := <-said; !strings.HasPrefix(line, "lost ") {
		t.Fatalf("the paused publisher's last words: %q", line)
	}
	verifyTopic(t, p, r.Topic, r.Until)
}

package tail

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/position"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a broker whose entries hold one message each, in one ledger a
// partition of topic "t".
type fake struct {
	names      []string // of the namespace's topics, local; nil: it does not exist
	partitions [][]*broker.Incoming
	more       []chan *broker.Incoming // published while followed; nil: nothing comes
}

type fakeReader struct {
	messages []*broker.Incoming
	more     chan *broker.Incoming
}

func (f *fake) Partitions(_ context.Context, topic string) (int, error) {
	if topic != "persistent://public/x/t" {
		return 0, broker.ErrTopicMissing.New("%s does not exist", topic)
	}
	return len(f.partitions), nil
}

func (f *fake) Read(_ context.Context, p broker.Partition, from broker.Start) (broker.Reader, error) {
	messages := f.partitions[p.Index]
	switch {
	case from.Latest:
		messages = nil
	case from.FromEntry != nil:
		messages = messages[from.FromEntry.Entry:]
	}
	r := &fakeReader{messages: messages}
	if f.more != nil {
		r.more = f.more[p.Index]
	}
	return r, nil
}

// ReadSince returns some that are below, as it may.
func (f *fake) ReadSince(ctx context.Context, p broker.Partition, from position.Position, _ string) (broker.Reader, error) {
	entry := slices.IndexFunc(f.partitions[p.Index], func(m *broker.Incoming) bool { s, _ := m.Stamp(); return !s.Less(from) })
	return f.Read(ctx, p, broker.Start{FromEntry: &broker.MessageID{Entry: int64(max(entry-1, 0))}})
}

func (r *fakeReader) HasNext(context.Context) (bool, error) { return len(r.messages) > 0, nil }

func (r *fakeReader) Next(ctx context.Context) (*broker.Incoming, error) {
	if len(r.messages) > 0 {
		m := r.messages[0]
		r.messages = r.messages[1:]
		return m, nil
	}
	select {
	case m := <-r.more:
		return m, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (r *fakeReader) Close() {}

func (f *fake) AdminURL() string   { return "http://fake" }
func (f *fake) HTTP() *http.Client { return &http.Client{Transport: f} }

// RoundTrip answers internalStats and, in namespace public/x, the list of topics.
func (f *fake) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/partitioned") {
		if f.names == nil {
			return &http.Response{StatusCode: http.StatusNotFound, Body: http.NoBody, Request: r}, nil
		}
		var full []string
		for _, name := range f.names {
			full = append(full, "persistent://public/x/"+name)
		}
		body, err := json.Marshal(full)
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, err
	}
	_, rest, _ := strings.Cut(r.URL.Path, "-partition-")
	i, err := strconv.Atoi(strings.TrimSuffix(rest, "/internalStats"))
	if err != nil {
		return nil, err
	}
	body := fmt.Sprintf(`{"currentLedgerEntries": %d, "ledgers": [{"ledgerId": 0, "entries": 0}]}`, len(f.partitions[i]))
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func message(partition int, lsn uint64, ordinal uint64, eventType, key string) *broker.Incoming {
	stamp := position.Stamp{Position: position.Position{Epoch: 1, LSN: lsn}, Ordinal: ordinal}
	return &broker.Incoming{
		Partition:  broker.Partition{Topic: "persistent://public/x/t", Index: partition},
		Key:        key,
		Properties: map[string]string{"id": fmt.Sprint(lsn), "type": eventType, position.Property: stamp.String()},
	}
}

var topics = []string{"persistent://public/x/t"}

// Whatever is where: what is shown is what is wanted, in the order of positions.
func TestRunShowsWhatIsWanted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &fake{partitions: make([][]*broker.Incoming, rapid.IntRange(1, 4).Draw(t, "partitions"))}
		var all []*broker.Incoming
		for lsn := range rapid.Uint64Range(0, 40).Draw(t, "events") {
			p := rapid.IntRange(0, len(f.partitions)-1).Draw(t, "partition")
			m := message(p, lsn+1, uint64(len(f.partitions[p])+1),
				rapid.SampledFrom([]string{"Placed", "Paid"}).Draw(t, "type"), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key"))
			f.partitions[p] = append(f.partitions[p], m)
			all = append(all, m)
		}
		o := Options{
			Topics: topics,
			Type:   rapid.SampledFrom([]string{"", "P*", "Paid", "None"}).Draw(t, "glob"),
			Key:    rapid.SampledFrom([]string{"", "b"}).Draw(t, "key"),
			Last:   rapid.IntRange(0, 8).Draw(t, "last"),
			All:    rapid.Bool().Draw(t, "all"),
		}
		if o.All {
			o.From = position.Position{LSN: rapid.Uint64Range(0, 42).Draw(t, "from")}
			if o.From.LSN > 0 {
				o.From.Epoch = 1
			}
		}
		var want []*broker.Incoming
		for _, m := range all {
			if s, _ := m.Stamp(); o.matches(m) && (!o.All || !s.Less(o.From)) {
				want = append(want, m)
			}
		}
		if !o.All {
			want = want[max(0, len(want)-o.Last):]
		}
		var got []*broker.Incoming
		err := Run(t.Context(), f, o, func(m *broker.Incoming) error { got = append(got, m); return nil })
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%+v: %v, got %d of %d", o, err, len(got), len(want))
		}
	})
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{
			partitions: [][]*broker.Incoming{{message(0, 1, 1, "A", "k")}, {message(1, 2, 1, "A", "k")}},
			more:       []chan *broker.Incoming{make(chan *broker.Incoming), make(chan *broker.Incoming)},
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := errors.New("stop")
		var got []string
		done := make(chan error, 1)
		go func() {
			done <- Run(ctx, f, Options{Topics: topics, Last: 1, Type: "A", Follow: true}, func(m *broker.Incoming) error {
				got = append(got, m.Properties["id"])
				return nil
			})
		}()
		f.more[1] <- message(1, 3, 2, "A", "k")
		synctest.Wait() // it is shown before what another partition gets
		f.more[0] <- message(0, 4, 2, "B", "k")
		f.more[0] <- message(0, 5, 3, "A", "k")
		synctest.Wait()
		cancel(stop)
		if err := <-done; !errors.Is(err, stop) {
			t.Errorf("%v", err)
		}
		if want := []string{"2", "3", "5"}; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

// What was published after the start is not waited for, and not lost: follow
// shows it.
func TestPublishedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := message(0, 2, 2, "A", "k")
		late.PublishTime = time.Now().Add(time.Hour)
		f := &fake{partitions: [][]*broker.Incoming{{message(0, 1, 1, "A", "k"), late}}, more: make([]chan *broker.Incoming, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		var got []string
		show := func(m *broker.Incoming) error { got = append(got, m.Properties["id"]); return nil }
		if err := Run(ctx, f, Options{Topics: topics, All: true}, show); err != nil || !slices.Equal(got, []string{"1"}) {
			t.Errorf("%v, %v", got, err)
		}
		got = nil
		done := make(chan error, 1)
		go func() { done <- Run(ctx, f, Options{Topics: topics, All: true, Follow: true}, show) }()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) || !slices.Equal(got, []string{"1", "2"}) {
			t.Errorf("%v, %v", got, err)
		}
	})
}

func TestRunErrors(t *testing.T) {
	f := &fake{partitions: [][]*broker.Incoming{{message(0, 1, 1, "A", "k")}}}
	err := Run(t.Context(), f, Options{Topics: []string{"persistent://public/x/other"}, Last: 1}, nil)
	if e := fault.Find(err); e == nil || e.Code != broker.ErrTopicMissing {
		t.Errorf("%v", err)
	}
	broken := errors.New("broken pipe")
	for _, follow := range []bool{false, true} {
		if err := Run(t.Context(), f, Options{Topics: topics, Last: 1, Follow: follow}, func(*broker.Incoming) error { return broken }); !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
	}
	if err := Run(t.Context(), &fake{}, Options{Topics: topics, Last: 1}, nil); fault.Find(err) == nil {
		t.Errorf("not partitioned: %v", err)
	}
}

// A topic that is not there: what may be meant, and what there is.
func TestTopicMissing(t *testing.T) {
	var many []string
	for i := range 12 {
		many = append(many, fmt.Sprintf("topic%02d", i))
	}
	for name, tc := range map[string]struct {
		names              []string
		topic, error, toDo string
	}{
		"near":         {[]string{"order", "audit", "__change_events"}, "ordr", "the namespace public/x has no topic ordr", "Did you mean order? The topics there are: audit, order."},
		"far":          {[]string{"order", "audit"}, "nosuch", "the namespace public/x has no topic nosuch", "The topics there are: audit, order."},
		"many":         {many, "topic", "no topic topic", "topic08, topic09 and 2 more, which `pulsar-admin topics list-partitioned-topics public/x` lists."},
		"empty":        {[]string{}, "ordr", "no topic ordr", broker.ErrTopicMissing.Remedy},
		"no namespace": {nil, "ordr", "the namespace public/x does not exist", "topics.namespace"},
	} {
		err := Run(t.Context(), &fake{names: tc.names}, Options{Topics: []string{"persistent://public/x/" + tc.topic}, Last: 1}, nil)
		if e := fault.Find(err); e == nil || e.Code != broker.ErrTopicMissing || !strings.Contains(e.Message, tc.error) || !strings.Contains(e.WhatToDo(), tc.toDo) {
			t.Errorf("%s: %v, %s", name, err, e.WhatToDo())
		}
	}
	f := &fake{names: []string{"t"}} // of no partitions
	err := Run(t.Context(), f, Options{Topics: topics, Last: 1}, nil)
	if e := fault.Find(err); e == nil || !strings.Contains(e.Message, "not partitioned") || e.WhatToDo() != "Did you mean t? The topics there are: t." {
		t.Errorf("%v", err)
	}
}

func TestBefore(t *testing.T) {
	var s ledgers
	if err := json.Unmarshal([]byte(`{"currentLedgerEntries": 5, "ledgers": [
		{"ledgerId": 10, "entries": 3}, {"ledgerId": 11, "entries": 0}, {"ledgerId": 12, "entries": 0}]}`), &s); err != nil {
		t.Fatal(err)
	}
	at := func(ledger, entry int64) broker.Start {
		return broker.Start{FromEntry: &broker.MessageID{Ledger: ledger, Entry: entry, Batch: -1}}
	}
	for n, want := range map[int64]broker.Start{1: at(12, 4), 5: at(12, 0), 6: at(10, 2), 7: at(10, 1), 8: {}, 9: {}, 1000: {}} {
		got, whole := s.before(n)
		if !reflect.DeepEqual(got, want) || whole != (n >= 8) {
			t.Errorf("%d: %+v, %v", n, got, whole)
		}
	}
	if got, whole := (ledgers{}).before(3); !whole || got.FromEntry != nil {
		t.Errorf("empty: %+v", got)
	}
}

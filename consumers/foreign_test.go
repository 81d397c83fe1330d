package consumers_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// lines is a log that a test reads.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// with counts the lines that hold text.
func (l *lines) with(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// What the log says of these messages, and of those that were read from the topic.
const (
	passedOver = "is passed over"
	readThem   = "messages were read from the topic"
)

func (w *world) allAcked(t *testing.T, of broker.Partition, name string) {
	t.Helper()
	pgtest.Eventually(t, patience, func() bool {
		acked := w.ackedOf(of, name)
		w.mu.Lock()
		defer w.mu.Unlock()
		return acked == len(w.logs[of])
	}, "all of %s is acknowledged", of)
}

// standsAt waits until a copy stands there, in the first partition.
func (w *world) standsAt(t *testing.T, ordinal uint64) {
	t.Helper()
	conn := w.db.Conn(t)
	pgtest.Eventually(t, patience, func() bool {
		all, err := consumers.Positions(t.Context(), conn, "fulfilment")
		return err == nil && slices.ContainsFunc(all, func(p consumers.PartitionPosition) bool { return p.Topic == orders && p.Ordinal == ordinal })
	}, "the copy stands at %s", func() string { return fmt.Sprint(ordinal) })
}

// looksAgain waits until a silent partition was read from the topic a few times.
func (w *world) looksAgain(t *testing.T) {
	t.Helper()
	reads := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.reads
	}
	before := reads()
	pgtest.Eventually(t, patience, func() bool { return reads() >= before+3 }, "the topic is read again")
}

// At the beginning, in the middle and at the end of a partition, delivered or read
// from the topic: what is listed is passed over, and nothing else changes.
func TestListedMessagesArePassedOver(t *testing.T) {
	of := broker.Partition{Topic: orders}
	for name, mute := range map[string]bool{"delivered": false, "left out by the subscription": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			want := make(truth)
			first := w.foreign(of)
			w.fill(t, 10, want)
			middle := w.foreign(of)
			w.fill(t, 10, want)
			last := w.foreign(of)
			w.mute = mute

			cfg := w.config(t)
			requireFault(t, start(t, cfg, impatient).wait(t), consumers.ErrForeignMessage, first+": ", "Config.Foreign")
			cfg.Foreign = []string{first}
			err := start(t, cfg, impatient).wait(t)
			requireFault(t, err, consumers.ErrForeignMessage, middle+": ")
			if mute { // all that was read at once is named at once
				requireFault(t, err, consumers.ErrForeignMessage, `"`+middle+`", "`+last+`".`)
			}
			if at := w.positions(t)[0]; at != 10 {
				t.Errorf("stands at %d: what came before it is kept", at)
			}

			for _, silence := range []time.Duration{time.Hour, 10 * time.Millisecond} { // also after a restart
				var log lines
				cfg.Foreign, cfg.Logger = []string{first, middle, last}, log.logger()
				r := start(t, cfg, func(p *consumers.Projection) {
					impatient(p)
					if !mute {
						p.SetSilence(silence) // so that the topic is not looked at meanwhile
					}
				})
				w.appliedAll(t)
				if mute || silence < time.Second {
					w.allAcked(t, of, "fulfilment") // the last one only as the topic was read
					w.looksAgain(t)
				}
				r.stop(t)
				w.requireCopy(t, want)
				for _, name := range cfg.Foreign {
					if n := log.with(name); n > 1 {
						t.Errorf("%d lines about %s", n, name)
					}
				}
				if n := log.with(readThem); n > 1 || n > 0 && !mute {
					t.Errorf("the log says %d times that %s", n, readThem)
				}
			}
			if n := w.saw.applied.Load(); n != 20 {
				t.Errorf("%d applied, want 20", n)
			}
		})
	}
}

// One that comes alone, to a partition that stays silent: it does not come again, and
// the topic is not taken for one that was not read.
func TestListedMessageAlone(t *testing.T) {
	of := broker.Partition{Topic: orders}
	for name, mute := range map[string]bool{"delivered": false, "left out by the subscription": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			want := make(truth)
			w.fill(t, 5, want)
			var log lines
			cfg := w.config(t)
			cfg.Logger = log.logger()
			cfg.Foreign = []string{of.String() + " 1:5", of.String() + " 1:6:0", "persistent://public/other/topic-partition-7 1:1"}
			r := start(t, cfg, impatient)
			w.appliedAll(t)
			w.change(func() { w.mute = mute })
			for range 2 {
				name := w.foreign(of)
				w.allAcked(t, of, "fulfilment")
				w.looksAgain(t)
				if n := log.with(passedOver); log.with(name) != 1 || n > 2 {
					t.Errorf("%d lines about %s, %d in all", log.with(name), name, n)
				}
			}
			if n := log.with(readThem); n > 0 {
				t.Errorf("the log says %d times that %s", n, readThem)
			}
			if at := w.positions(t)[0]; at != 5 {
				t.Errorf("stands at %d", at)
			}
			w.change(func() { w.mute = false })
			w.fill(t, 5, want)
			w.appliedAll(t)
			r.stop(t)
			w.requireCopy(t, want)
		})
	}
}

// A copy is built past them: beside a live one that knows them or has stopped there,
// and where a topic that only the new version reads holds nothing else.
func TestListedMessagesInARebuild(t *testing.T) {
	const parcels = "persistent://public/runnel/parcel"
	of := broker.Partition{Topic: orders}
	for name, known := range map[string]bool{"the live copy knows them": true, "the live copy stopped": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.partitions[parcels] = 1
			want := make(truth)
			var s effects
			w.fill(t, 10, want)
			listed := []string{w.foreign(of)}
			w.fill(t, 10, want)
			listed = append(listed, w.foreign(of), w.foreign(broker.Partition{Topic: parcels}))

			one := w.config(t)
			if known {
				one.Foreign = listed
			}
			r := start(t, one, s.register)
			if known {
				w.standsAt(t, 20)
				r.stop(t)
			} else {
				requireFault(t, r.wait(t), consumers.ErrForeignMessage)
			}

			two := next(one)
			two.Foreign, two.Topics = listed, []string{"order", "parcel"}
			r = start(t, two, func(p *consumers.Projection) {
				s.register(p)
				p.SetSilence(10 * time.Millisecond)
			})
			w.isLive(t, 2)
			listed = append(listed, w.foreign(of)) // which is not on the list of those who run
			w.fill(t, 5, want)
			requireFault(t, r.wait(t), consumers.ErrForeignMessage, listed[3]+": ")
			two.Foreign = listed
			r = start(t, two, s.register)
			w.standsAt(t, 25)
			r.stop(t)
			w.requireCopy(t, want)
			s.requireOnce(t, 25)
		})
	}
}

// A list cannot hide that an event is missing, and does not keep one from its handler.
func TestListedEvents(t *testing.T) {
	of := broker.Partition{Topic: orders}
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 10, want)
	cfg := w.config(t)
	cfg.Foreign = []string{of.String() + " 1:4", of.String() + " 1:9"}
	r := start(t, cfg, handleFold)
	w.appliedAll(t)
	r.stop(t)
	w.requireCopy(t, want)

	w.fill(t, 5, make(truth))
	w.change(func() { delete(w.logs[of][12].Properties, "id") })
	cfg.Foreign = append(cfg.Foreign, of.String()+" 1:12")
	requireFault(t, start(t, cfg, handleFold).wait(t), consumers.ErrGap, "expected ordinal 13, found 14")
}

func TestReplayPassesOver(t *testing.T) {
	of := broker.Partition{Topic: orders}
	w := newWorld(t, 1)
	w.fill(t, 5, make(truth))
	cfg := w.config(t)
	cfg.Foreign = []string{w.foreign(of)}
	w.fill(t, 5, make(truth))
	r := start(t, cfg, handleFold)
	w.appliedAll(t)
	r.stop(t)
	p, all := w.replayer(t, cfg, nil)
	if got, err := p.Replay(t.Context(), consumers.ReplayRange{Type: "OrderPlaced"}, false); err != nil || got.Applied != 10 || len(all()) != 10 {
		t.Errorf("%+v, %v", got, err)
	}
	listed := cfg.Foreign
	cfg.Foreign = nil
	p, _ = w.replayer(t, cfg, nil)
	_, err := p.Replay(t.Context(), consumers.ReplayRange{Type: "OrderPlaced"}, false)
	requireFault(t, err, consumers.ErrForeignMessage, listed[0]+": ", `"`+listed[0]+`".`)
}

func TestSubscribePassesOver(t *testing.T) {
	w, b := subscription(t)
	var log lines
	b.Logger = log.logger()
	of := broker.Partition{Topic: orders}
	w.fill(t, 10, make(truth))
	one := w.foreign(of)
	w.fill(t, 10, make(truth))
	two := w.foreign(of)
	handled := 0
	subscribe := func(ctx context.Context, options ...consumers.SubscribeOption) error {
		var mu sync.Mutex
		return consumers.Subscribe(ctx, b, "mailer", []string{orders}, func(context.Context, consumers.Message) error {
			mu.Lock()
			defer mu.Unlock()
			handled++
			return nil
		}, options...)
	}
	requireFault(t, subscribe(t.Context()), consumers.ErrForeignMessage, one+": ", "PassOver")
	requireFault(t, subscribe(t.Context(), consumers.PassOver(one)), consumers.ErrForeignMessage, two+": ")
	requireFault(t, subscribe(t.Context(), consumers.PassOver(one), consumers.PassOver("5:0")), consumers.ErrConfig, `PassOver holds "5:0"`)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- subscribe(ctx, consumers.PassOver(one), consumers.PassOver(two)) }()
	w.allAcked(t, of, "mailer")
	w.allAcked(t, broker.Partition{Topic: orders, Index: 1}, "mailer")
	cancel()
	if err := <-done; err != nil || handled != 20 {
		t.Errorf("%d handled: %v", handled, err)
	}
	if log.with(one) != 1 || log.with(two) != 1 {
		t.Errorf("the log: %s", log.buf.String())
	}
}

func TestForeignIsChecked(t *testing.T) {
	const good = "persistent://public/runnel/order-partition-0 19:0:0"
	cfg := consumers.Config{Name: "a", Database: idlePool(t)}
	for _, list := range [][]string{
		{""}, {"19:0:0"}, {orders}, {orders + "-partition-0"}, {orders + " 19:0:0"}, {"order-partition-0 19:0:0"},
		{"persistent://runnel/order-partition-0 19:0:0"}, {"persistent://public/runnel/a b-partition-0 19:0:0"},
		{orders + "-partition- 19:0:0"}, {orders + "-partition-x 19:0:0"}, {orders + "-partition-00 19:0:0"}, {orders + "-partition--1 19:0:0"},
		{good + ":0"}, {good + " "}, {" " + good}, {orders + "-partition-0  19:0:0"}, {orders + "-partition-0, message 19:0:0"},
		{orders + "-partition-0 19:0:-1"}, {orders + "-partition-0 19:+0"}, {orders + "-partition-0 19"},
		{good, good}, {good, orders + "-partition-0 19:0"},
	} {
		cfg.Foreign = list
		_, err := consumers.New(cfg)
		requireFault(t, err, consumers.ErrConfig, "Foreign holds "+[]string{"", "\"", list[len(list)-1] + " twice"}[len(list)])
	}
	cfg.Foreign = []string{good, orders + "-partition-1 19:0", "persistent://a/b/c-partition-2-partition-10 0:0:9"}
	if _, err := consumers.New(cfg); err != nil {
		t.Error(err)
	}
}

package pipeline_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/devstack/stacktest"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
)

// logged keeps what is logged, besides writing it.
type logged struct {
	testWriter
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	return l.testWriter.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestBrokerPaused: a broker that is stopped for longer than Stall, with its
// connections open, ends the run with the partition's name; each event is
// published once when it goes on.
func TestBrokerPaused(t *testing.T) {
	t.Parallel()
	stack := stacktest.Up(t, devstack.Options{Pulsar: true})
	w := newWorld(t)
	w.cfg.Broker = broker.Config{URL: stack.PulsarURL, AdminURL: stack.PulsarAdminURL, OperationTimeout: 5 * time.Second}
	w.cfg.Stall = 2 * time.Second
	log := &logged{testWriter: testWriter{t}}
	w.cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	client, err := broker.Dial(t.Context(), w.cfg.Broker)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	w.client = client
	w.init()
	p, _ := w.start()
	w.write(1, 100)
	w.caughtUp()
	if err := stack.PauseBroker(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	w.write(101, 200)
	var st pipeline.Status
	pgtest.Eventually(t, 60*time.Second, func() bool {
		st = p.Status() // the reason stays while the next run tries to begin
		return st.Code == "BROKER_STALLED"
	}, "the run ended as stalled")
	if took := time.Since(began); took > 40*time.Second {
		t.Errorf("it took %s", took)
	}
	if !strings.Contains(st.Message, "/order-partition-") || !strings.Contains(st.Message, "none was acknowledged for 2s") {
		t.Errorf("message %q", st.Message)
	}
	if text := log.String(); !strings.Contains(text, `msg="the run ended, starting over"`) || !strings.Contains(text, "BROKER_STALLED") {
		t.Error("the log does not say why the run ended")
	}
	if err := stack.ResumeBroker(); err != nil {
		t.Fatal(err)
	}
	w.complete("order")
	reaches(t, p, pipeline.Streaming, "")
	if st := p.Status(); st.Run < 2 {
		t.Errorf("run %d", st.Run)
	}
}

package pipeline_test

import (
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/netfault"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
)

// network is a world whose daemon reaches Postgres and Pulsar through proxies alone;
// whoever checks comes past them. A standalone broker tells its clients to come through
// the address that they were given, so that lookups lead nobody past a proxy.
type network struct {
	*world
	postgres, pulsar, admin *netfault.Proxy
	server, broker          string // Postgres and Pulsar themselves
	log                     *logged
	written                 int
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	w := newWorld(t)
	w.init()
	pulsar, admin := host(t, w.cfg.Broker.URL), host(t, w.cfg.Broker.AdminURL)
	n := &network{world: w, server: host(t, w.url), broker: pulsar, log: &logged{testWriter: testWriter{t}}}
	n.postgres, n.pulsar, n.admin = listen(t, n.server), listen(t, pulsar), listen(t, admin)
	w.url = strings.Replace(w.url, n.server, n.postgres.Addr(), 1)
	w.cfg.Broker = broker.Config{URL: "pulsar://" + n.pulsar.Addr(), AdminURL: "http://" + n.admin.Addr(),
		OperationTimeout: networkTimeout, KeepAlive: time.Second}
	w.cfg.Stall, w.cfg.InFlight = networkTimeout, networkInFlight
	w.cfg.Logger = slog.New(slog.NewTextHandler(n.log, nil))
	return n
}

func listen(t *testing.T, server string) *netfault.Proxy {
	t.Helper()
	p, err := netfault.Listen(server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// host returns the host and port of an address.
func host(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// setPulsar puts all of the daemon's connections to the broker into a condition.
func (n *network) setPulsar(c netfault.Condition) {
	n.pulsar.Set(c)
	n.admin.Set(c)
}

// more writes events.
func (n *network) more(events int) {
	n.t.Helper()
	n.write(n.written+1, events)
	n.written += events
}

// streams starts a pipeline and waits until it has published something.
func (n *network) streams() *pipeline.Pipeline {
	n.t.Helper()
	p, _ := n.start()
	n.more(100)
	n.caughtUp()
	reaches(n.t, p, pipeline.Streaming, "")
	return p
}

// noticed waits until the pipeline says what is wrong, with one of codes, at most for
// bound. Meanwhile it holds no more than it may; a batch that was begun counts besides.
func (n *network) noticed(p *pipeline.Pipeline, bound time.Duration, codes ...string) {
	n.t.Helper()
	began := time.Now()
	var st pipeline.Status
	pgtest.Eventually(n.t, bound, func() bool {
		st = p.Status()
		if st.InFlightBytes > networkInFlight+networkBatch {
			n.t.Fatalf("%d bytes in flight", st.InFlightBytes)
		}
		return slices.Contains(codes, st.Code)
	}, "one of "+strings.Join(codes, " "))
	n.t.Logf("noticed after %s: %s %s %s", time.Since(began).Round(10*time.Millisecond), st.State, st.Code, st.Message)
	if st.State == pipeline.Streaming || st.State == pipeline.Halted {
		n.t.Errorf("state %s", st.State)
	}
	pgtest.Eventually(n.t, 10*time.Second, func() bool {
		text := n.log.String()
		return strings.Contains(text, `msg="the run ended, starting over"`) && strings.Contains(text, st.Code)
	}, "the log says why the run ended")
}

// resumed requires that everything comes to its topic once, without a restart.
func (n *network) resumed(p *pipeline.Pipeline) {
	n.t.Helper()
	n.more(100)
	n.complete("order")
	reaches(n.t, p, pipeline.Streaming, "")
	if n.pulsar.Stats().ToServer == 0 || n.admin.Stats().ToServer == 0 {
		n.t.Error("the daemon came past the proxies")
	}
}

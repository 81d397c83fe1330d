package pipeline_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/netfault"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
)

const (
	networkInFlight = 256 << 10       // bytes that are sent and not acknowledged
	networkBatch    = 512 * 5 << 10   // what a batch may add: 512 events, each counted with some 5 KB
	networkTimeout  = 3 * time.Second // of the broker's acknowledgements and answers

	// The bounds within which silence is noticed. Postgres: progress asks every second
	// and waits 5 s, a run that begins waits 10 s for a connection. Pulsar: a connection
	// is dropped after twice KeepAlive, a run ends after Stall, and all of its sends are
	// given up after drainLimit. The rest is for a machine that is shared.
	postgresBound = 30 * time.Second
	pulsarBound   = 30 * time.Second
)

// A scene is what the network does to a daemon, one thing after another.
type scene struct {
	name string
	play func(*network, *pipeline.Pipeline)
}

// TestNetwork: whatever the network does on either link, it is noticed in bounded time,
// the daemon holds no more than it may, and afterwards each event is in its topic once.
func TestNetwork(t *testing.T) {
	t.Parallel()
	// Not t.Parallel, which lets as many run at once as there are processors: they wait.
	var wg sync.WaitGroup
	for _, s := range slices.Concat(postgresScenes, pulsarScenes) {
		wg.Go(func() {
			t.Run(s.name, func(t *testing.T) {
				n := newNetwork(t)
				s.play(n, n.streams())
			})
		})
	}
	for _, s := range startScenes {
		wg.Go(func() { t.Run(s.name, func(t *testing.T) { s.play(newNetwork(t), nil) }) })
	}
	wg.Wait()
}

var postgresScenes = []scene{
	{"postgres resets, then half open", func(n *network, p *pipeline.Pipeline) {
		n.reset(p, n.postgres, n.postgres.Reset)
		n.postgresSilent(p, netfault.HalfOpen)
	}},
	{"postgres slow, then deaf", func(n *network, p *pipeline.Pipeline) {
		before := p.Status()
		n.postgres.Set(netfault.Slow)
		n.more(1000)
		pgtest.Eventually(n.t, postgresBound, func() bool {
			st := p.Status()
			return st.Run == before.Run && st.Published > before.Published
		}, "events pass at 1 KB/s")
		n.postgres.Set(netfault.Healthy)
		n.resumed(p)
		n.postgresSilent(p, netfault.Deaf)
	}},
	{"postgres gone, then mute", func(n *network, p *pipeline.Pipeline) {
		// A name that leads elsewhere for a while.
		n.postgres.Lead("")
		n.postgres.Reset()
		n.more(1000)
		n.noticed(p, postgresBound, "PG_UNREACHABLE")
		n.postgres.Lead(n.server)
		n.resumed(p)
		n.postgresSilent(p, netfault.Mute)
	}},
}

var pulsarScenes = []scene{
	{"pulsar resets, then half open", func(n *network, p *pipeline.Pipeline) {
		n.reset(p, n.pulsar, func() int { return n.pulsar.Reset() + n.admin.Reset() })
		n.pulsarBad(p, netfault.HalfOpen)
	}},
	{"pulsar deaf, then mute", func(n *network, p *pipeline.Pipeline) {
		n.pulsarBad(p, netfault.Deaf)
		n.pulsarBad(p, netfault.Mute)
	}},
	{"pulsar slow, then gone", func(n *network, p *pipeline.Pipeline) {
		n.pulsarBad(p, netfault.Slow) // what keeps a connection alive waits behind what is sent
		n.pulsar.Lead("")
		n.pulsar.Reset()
		n.more(1000)
		n.noticed(p, pulsarBound, "PULSAR_UNREACHABLE")
		n.pulsar.Lead(n.broker)
		n.resumed(p)
	}},
}

// reset breaks connections off again and again, with events on their way: once so many
// bytes have come through since the last time, be it amid a run or while one prepares.
func (n *network) reset(p *pipeline.Pipeline, through *netfault.Proxy, reset func() int) {
	n.t.Helper()
	before := p.Status().Run
	for range 4 {
		passed := func() int64 { s := through.Stats(); return s.ToServer + s.ToClient }
		began, from := passed(), n.written+1
		n.written += 2000
		writing := make(chan struct{})
		go func() {
			defer close(writing)
			n.write(from, 2000)
		}()
		pgtest.Eventually(n.t, 30*time.Second, func() bool { return passed() > began+64<<10 }, "bytes pass")
		if reset() == 0 {
			n.t.Error("there was nothing to reset")
		}
		<-writing
	}
	n.resumed(p)
	if now := p.Status().Run; now <= before {
		n.t.Errorf("still run %d", now)
	}
}

// postgresSilent lets a direction be dead, or both.
func (n *network) postgresSilent(p *pipeline.Pipeline, c netfault.Condition) {
	n.t.Helper()
	n.postgres.Set(c)
	n.more(2000)
	n.noticed(p, postgresBound, "PG_UNREACHABLE", "PG_SILENT")
	n.postgres.Set(netfault.Healthy)
	n.resumed(p)
}

// pulsarBad does the same to the broker, or slows it down.
func (n *network) pulsarBad(p *pipeline.Pipeline, c netfault.Condition) {
	n.t.Helper()
	n.setPulsar(c)
	n.more(5000)
	n.noticed(p, pulsarBound, "BROKER_STALLED", "PULSAR_CONNECTION_LOST", "PULSAR_UNREACHABLE", "PARTITION_LOST")
	n.setPulsar(netfault.Healthy)
	n.resumed(p)
}

// startScenes begin before the daemon does.
var startScenes = []scene{
	{"sliced", func(n *network, _ *pipeline.Pipeline) {
		n.postgres.Set(netfault.Sliced)
		n.setPulsar(netfault.Sliced)
		n.more(150)
		p, _ := n.start()
		n.more(150)
		n.resumed(p)
	}},
	{"silent at the start", func(n *network, _ *pipeline.Pipeline) {
		n.more(100)
		n.setPulsar(netfault.HalfOpen)
		p, _ := n.start()
		n.noticed(p, pulsarBound, "PULSAR_UNREACHABLE")
		n.postgres.Set(netfault.HalfOpen)
		n.setPulsar(netfault.Healthy)
		n.noticed(p, postgresBound, "PG_UNREACHABLE")
		n.postgres.Set(netfault.Healthy)
		n.resumed(p)
	}},
	{"postgres silent amid a statement without a limit", func(n *network, _ *pipeline.Pipeline) {
		// What a run prepares with may rightly wait for hours, here for a lock.
		_, stop := n.start()
		n.more(100)
		n.caughtUp()
		stop()
		open, err := n.db.Conn(n.t).Begin(n.t.Context())
		if err == nil {
			_, err = open.Exec(n.t.Context(), "lock table runnel.event_type in exclusive mode") // it takes no xid, for which others' slots would wait
		}
		if err != nil {
			n.t.Fatal(err)
		}
		p, _ := n.start()
		pgtest.Eventually(n.t, 30*time.Second, func() bool {
			return pgtest.Value[bool](n.t, n.db, `select exists (select from pg_stat_activity
				where datname = current_database() and wait_event_type = 'Lock')`)
		}, "the lock is waited for")
		n.postgres.Set(netfault.HalfOpen)
		n.noticed(p, postgresBound, "PG_UNREACHABLE")
		n.postgres.Set(netfault.Healthy)
		if err := open.Rollback(n.t.Context()); err != nil {
			n.t.Fatal(err)
		}
		n.resumed(p)
	}},
	{"postgres silent before the start is audited", func(n *network, _ *pipeline.Pipeline) {
		_, stop := n.start()
		n.more(100)
		n.caughtUp()
		stop()
		n.more(20_000)
		// Nothing is taken from the stream while the broker is silent, nor is that noticed.
		n.cfg.Stall, n.cfg.Broker.OperationTimeout, n.cfg.Broker.KeepAlive = time.Minute, time.Minute, time.Minute
		streamed := strings.Count(n.log.String(), "msg=streaming")
		p, _ := n.start()
		pgtest.Eventually(n.t, 30*time.Second, func() bool { return strings.Count(n.log.String(), "msg=streaming") > streamed }, "the next run")
		n.setPulsar(netfault.HalfOpen)
		n.postgres.Set(netfault.HalfOpen)
		// The run's end waits for a call of the broker's client that is under way, which
		// takes no context. What it then tells is what came first.
		n.noticed(p, 45*time.Second+n.cfg.Broker.OperationTimeout, "PG_UNREACHABLE")
		n.setPulsar(netfault.Healthy)
		n.postgres.Set(netfault.Healthy)
		n.resumed(p)
	}},
	{"other hosts of a list", func(n *network, _ *pipeline.Pipeline) {
		database, second := listen(n.t, ""), listen(n.t, n.broker)
		n.url = strings.Replace(n.url, n.postgres.Addr(), n.postgres.Addr()+","+database.Addr(), 1) + "&target_session_attrs=read-write&connect_timeout=1"
		n.cfg.Broker.URL += "," + second.Addr()
		p := n.streams()
		n.more(1000)
		// The first hosts vanish without a word. Until the server's side of their
		// connections ends, it holds the slot.
		n.pulsar.Set(netfault.HalfOpen)
		n.resumed(p)
		n.pulsar.Close() // refused is sooner than unanswered
		database.Lead(n.server)
		n.postgres.Set(netfault.HalfOpen)
		n.more(1000)
		n.noticed(p, postgresBound, "PG_UNREACHABLE")
		n.postgres.Close()
		n.resumed(p)
	}},
}

package pipeline_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/pulsartest"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/schemas"
)

// registryGate stands before the broker's REST address, and can hold up what is asked about
// schemas.
type registryGate struct {
	*httptest.Server
	mu     sync.Mutex
	held   func(path string) bool // nil: nothing is held
	opened chan struct{}          // closed when what is held may go on
	asked  []string               // topics whose schemas were asked for
}

func newRegistryGate(t *testing.T) *registryGate {
	target, err := url.Parse(pulsartest.AdminURL(t))
	if err != nil {
		t.Fatal(err)
	}
	g, proxy := &registryGate{}, httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) {} // of those who have gone
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/admin/v2/schemas/") {
			g.mu.Lock()
			g.asked = append(g.asked, r.URL.Path)
			wait, opened := g.held != nil && g.held(r.URL.Path), g.opened
			g.mu.Unlock()
			if wait {
				select {
				case <-opened:
				case <-r.Context().Done():
					return
				}
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(g.Close)
	return g
}

// hold holds up what is asked about some topics; the returned function ends that.
func (g *registryGate) hold(which func(path string) bool) (open func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held, g.opened, g.asked = which, make(chan struct{}), nil
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.held = nil
		close(g.opened)
	})
}

func (g *registryGate) askedFor() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.asked)
}

// TestFamiliarStart: a daemon that starts again with the same catalog publishes before it has
// asked for the schemas of other topics; with another catalog it asks for all of them first.
func TestFamiliarStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := newRegistryGate(t)
	w.cfg.Broker.AdminURL = g.URL
	extra := make(map[string]string)
	for _, name := range []string{"invoice", "parcel", "refund", "credit", "visit", "claim"} {
		extra[strings.ToUpper(name[:1])+name[1:]+"Sent"] = name
	}
	w.cfg.Schemas = catalogWith(t, extra)
	w.init()
	_, stop := w.start()
	w.write(1, 100)
	w.complete("order")
	stop()

	others := func(path string) bool { return !strings.Contains(path, "/order/") }
	open := g.hold(others)
	w.write(101, 100)
	p, stop := w.start()
	reaches(t, p, pipeline.Streaming, "")
	w.complete("order")
	open()
	pgtest.Eventually(t, 20*time.Second, func() bool { return g.askedFor() >= len(extra)+1 }, "every topic looked at in the end")
	w.db.Exec(t, `insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload) values ('claim', '1', 'ClaimSent', 2, '{"id":"1"}')`)
	w.caughtUp()
	if got := len(w.topic("claim")); got != 1 {
		t.Errorf("%d events in a topic that was loaded while the daemon streamed, want 1", got)
	}
	stop()

	extra["WishSent"] = "wish"
	w.cfg.Schemas = catalogWith(t, extra)
	open = g.hold(others)
	defer open()
	p, _ = w.start()
	pgtest.Eventually(t, 20*time.Second, func() bool { return g.askedFor() > 0 }, "topics looked at")
	if st := p.Status(); st.State == pipeline.Streaming {
		t.Error("a daemon with another catalog streams before it has looked at its topics")
	}
	open()
	reaches(t, p, pipeline.Streaming, "")
}

// TestFamiliarAndHarmed: what was in order, and is not any more, is found though nothing is
// written. The daemon stays halted then, and makes it again where it may.
func TestFamiliarAndHarmed(t *testing.T) {
	t.Parallel()
	w, _, stop := newPublished(t)
	stop()
	w.cfg.AutoApply = false
	p, stop := w.start() // other settings: now these are familiar
	reaches(t, p, pipeline.Streaming, "")
	w.write(101, 10)
	w.complete("order")
	stop()

	topic := strings.TrimPrefix(wire.TopicName(w.cfg.Namespace, "order"), "persistent://")
	pulsartest.Admin(t, http.MethodDelete, "/admin/v2/schemas/"+topic+"/schema?force=true", nil)
	var log lines
	w.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	p, stop = w.start()
	first := reaches(t, p, pipeline.Halted, "SCHEMAS_NOT_APPLIED").Run
	pgtest.Eventually(t, 30*time.Second, func() bool { return p.Status().Run >= first+4 }, "it has looked again")
	const again = "looking at everything again"
	if n := strings.Count(log.String(), again); n != 1 {
		t.Errorf("%d times %q, want once: what was in doubt stays in doubt", n, again)
	}
	stop()

	w.cfg.AutoApply = true
	w.start()
	registry := schemas.NewRegistry(w.client.AdminURL(), w.client.HTTP())
	pgtest.Eventually(t, 30*time.Second, func() bool {
		versions, err := registry.Versions(t.Context(), wire.TopicName(w.cfg.Namespace, "order"))
		return err == nil && len(versions) > 0
	}, "the schema registered anew")
	w.write(111, 10)
	w.complete("order")
}

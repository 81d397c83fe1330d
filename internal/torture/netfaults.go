package torture

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/netfault"
	"github.com/runnel-cdc/runnel/internal/pipeline"
)

// groupNet are the faults of the network between the daemon and the servers.
const groupNet = "net"

// The links of a daemon.
const (
	toPostgres = "postgres"
	toPulsar   = "pulsar"
)

// netFaults are the same for both links.
func netFaults() (all []fault) {
	for _, link := range []string{toPostgres, toPulsar} {
		add := func(name string, carryOut func(*runner, context.Context, *FaultRecord) error) {
			all = append(all, fault{name: groupNet + "." + link + "." + name, expect: resumes, group: groupNet, carryOut: carryOut})
		}
		add("reset", func(r *runner, ctx context.Context, rec *FaultRecord) error { return r.netReset(ctx, rec, link) })
		add("halfopen", netSilent(link, netfault.HalfOpen))
		add("deaf", netSilent(link, netfault.Deaf))
		add("mute", netSilent(link, netfault.Mute))
		add("slow", netBad(link, netfault.Slow))
		add("slices", netBad(link, netfault.Sliced))
		add("move", func(r *runner, ctx context.Context, rec *FaultRecord) error { return r.netMove(ctx, rec, link) })
	}
	return all
}

// noticedWithin bounds how long a daemon may take to say that a server has gone silent.
// Of Postgres progress knows after 6 s and a run that begins after 12 s, of Pulsar the
// client after two keepalives of 2 s; what was sent is waited for, for 10 s, before the
// run has ended and says so. The rest is for a machine that is shared.
const noticedWithin = 30 * time.Second

// network is a bad network. Each server has two addresses, of which one is reached.
type network struct {
	server map[string]string             // where a link leads
	doors  map[string][2]*netfault.Proxy // a link's two addresses
	open   map[string]int                // which of them is reached
	admin  *netfault.Proxy               // of Pulsar; it shares that link's fate, and keeps its address
}

func newNetwork(stack *devstack.Stack) (n *network, err error) {
	n = &network{server: map[string]string{}, doors: map[string][2]*netfault.Proxy{}, open: map[string]int{}}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	for link, address := range map[string]string{toPostgres: stack.PostgresURL, toPulsar: stack.PulsarURL} {
		u, err := url.Parse(address)
		if err != nil {
			return n, err
		}
		n.server[link] = u.Host
		first, err := netfault.Listen(u.Host)
		if err != nil {
			return n, err
		}
		second, err := netfault.Listen("")
		if err != nil {
			first.Close()
			return n, err
		}
		n.doors[link] = [2]*netfault.Proxy{first, second}
	}
	u, err := url.Parse(stack.PulsarAdminURL)
	if err != nil {
		return n, err
	}
	n.admin, err = netfault.Listen(u.Host)
	return n, err
}

func (n *network) close() {
	for _, doors := range n.doors {
		doors[0].Close()
		doors[1].Close()
	}
	if n.admin != nil {
		n.admin.Close()
	}
}

// lead leads a daemon through the network.
func (n *network) lead(s *settings) {
	both := func(link string) string { return n.doors[link][0].Addr() + "," + n.doors[link][1].Addr() }
	s.Postgres = strings.Replace(s.Postgres, n.server[toPostgres], both(toPostgres), 1) + "&target_session_attrs=read-write&connect_timeout=5"
	s.Pulsar = "pulsar://" + both(toPulsar)
	s.PulsarAdmin = "http://" + n.admin.Addr()
}

// of returns the proxies of a link that are in use.
func (n *network) of(link string) []*netfault.Proxy {
	all := []*netfault.Proxy{n.doors[link][n.open[link]]}
	if link == toPulsar {
		all = append(all, n.admin)
	}
	return all
}

func (n *network) set(link string, c netfault.Condition) {
	for _, p := range n.of(link) {
		p.Set(c)
	}
}

func (n *network) reset(link string) (connections int) {
	for _, p := range n.of(link) {
		connections += p.Reset()
	}
	return connections
}

// bytes counts what a link has delivered.
func (n *network) bytes(link string) (sum int64) {
	for _, p := range n.of(link) {
		s := p.Stats()
		sum += s.ToServer + s.ToClient
	}
	return sum
}

// heal makes it a good network.
func (n *network) heal() {
	for link := range n.doors {
		n.set(link, netfault.Healthy)
	}
}

// move lets a link's other address be the one that is reached.
func (n *network) move(link string) (connections int) {
	before := n.doors[link][n.open[link]]
	n.open[link] = 1 - n.open[link]
	n.doors[link][n.open[link]].Lead(n.server[link])
	before.Lead("")
	return before.Reset()
}

// netReset breaks all of a link's connections off amid what they carry.
func (r *runner) netReset(ctx context.Context, rec *FaultRecord, link string) error {
	return r.broken(ctx, rec, func() int { return r.net.reset(link) })
}

// netMove does so too, and the server comes back at the other of its addresses.
func (r *runner) netMove(ctx context.Context, rec *FaultRecord, link string) error {
	return r.broken(ctx, rec, func() int { return r.net.move(link) })
}

// broken triggers what breaks connections off, and waits for the daemon's next run: what
// is acknowledged before it has noticed does not show that it resumed.
func (r *runner) broken(ctx context.Context, rec *FaultRecord, do func() (connections int)) error {
	var run int
	err := r.trigger(ctx, rec, func() error {
		run = r.daemon.status(ctx).Run
		n := do()
		if rec.Note = fmt.Sprintf("%d connections", n); n == 0 {
			return errors.New("there was no connection to break off")
		}
		return nil
	})
	if err != nil {
		return err
	}
	return await(ctx, r.o.Patience, func(ctx context.Context) bool {
		now := r.daemon.status(ctx)
		return now.State == pipeline.Streaming && now.Run > run
	})
}

// netSilent lets nothing pass in a direction, or in both, until the daemon has said so and
// for a while more; it holds back what comes meanwhile.
func netSilent(link string, c netfault.Condition) func(*runner, context.Context, *FaultRecord) error {
	return func(r *runner, ctx context.Context, rec *FaultRecord) error {
		defer r.net.set(link, netfault.Healthy)
		if err := r.trigger(ctx, rec, func() error { r.net.set(link, c); return nil }); err != nil {
			return err
		}
		began := time.Now()
		var st pipeline.Status
		err := await(ctx, noticedWithin, func(ctx context.Context) bool {
			st = r.daemon.status(ctx)
			return st.Code != "" && st.State != pipeline.Streaming
		})
		if err != nil {
			r.daemon.Signal(syscall.SIGQUIT) // its log has what every goroutine waits for
			return fmt.Errorf("state %s %s after %s of silence: %w", st.State, st.Code, noticedWithin, err)
		}
		rec.Note = fmt.Sprintf("%s %s within %d ms", st.State, st.Code, time.Since(began).Milliseconds())
		if st.State == pipeline.Halted {
			return fmt.Errorf("halted with %s: %s", st.Code, st.Message)
		}
		return hold(ctx, r.some(5*time.Second))
	}
}

// netBad makes a link slow, or cuts what it carries into slices, for a while.
func netBad(link string, c netfault.Condition) func(*runner, context.Context, *FaultRecord) error {
	return func(r *runner, ctx context.Context, rec *FaultRecord) error {
		defer r.net.set(link, netfault.Healthy)
		var before int64
		err := r.trigger(ctx, rec, func() error {
			r.net.set(link, c)
			before = r.net.bytes(link)
			return nil
		})
		if err != nil {
			return err
		}
		length := 2*time.Second + r.some(8*time.Second)
		if err := hold(ctx, length); err != nil {
			return err
		}
		n, st := r.net.bytes(link)-before, r.daemon.status(ctx)
		rec.Note = strings.TrimSpace(fmt.Sprintf("%d bytes in %s; %s %s", n, length.Round(time.Millisecond), st.State, st.Code))
		switch {
		case n == 0:
			return errors.New("nothing passed")
		case st.State == pipeline.Halted:
			return fmt.Errorf("halted with %s: %s", st.Code, st.Message)
		}
		return nil
	}
}

package netfault

import (
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// Way is what happens to bytes in one direction. The zero value lets them pass.
type Way struct {
	Silent bool          // nothing passes, and neither does an end
	Rate   int           // bytes a second; 0: any
	Slice  int           // at most so many bytes at once, and at least one; 0: any
	Pause  time.Duration // the longest pause between slices; many have none
}

// Condition is the state of the network.
type Condition struct {
	ToServer, ToClient Way
}

// The conditions that have names.
var (
	Healthy  = Condition{}
	HalfOpen = Condition{Way{Silent: true}, Way{Silent: true}}
	Deaf     = Condition{ToServer: Way{Silent: true}} // the server hears nothing
	Mute     = Condition{ToClient: Way{Silent: true}} // the server is not heard
	Slow     = Condition{Way{Rate: 1 << 10}, Way{Rate: 1 << 10}}
	Sliced   = Condition{Way{Slice: 7, Pause: time.Millisecond}, Way{Slice: 7, Pause: time.Millisecond}}
)

// buffer is what the kernel may hold of a connection on each side: less than its
// default, so that a sender feels a network that is slow.
const buffer = 32 << 10

// dialLimit bounds connecting to the server. It is on this machine.
const dialLimit = 5 * time.Second

// Proxy leads connections to a server. It is safe for concurrent use.
//
// Invariants:
//  1. Bytes of one direction keep their order, and none is left out while the
//     connection lives.
//  2. In a silent direction nothing is delivered: no byte, no end, no reset but
//     Reset's.
//  3. After Close no goroutine of it is left.
type Proxy struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu      sync.Mutex
	server  string
	now     Condition
	changed chan struct{} // closed when now changes, or at the end
	closed  bool
	links   map[*link]struct{}
	stats   Stats
}

// Stats count since the beginning.
type Stats struct {
	Connections        int   // that were accepted
	Open               int   // now
	ToServer, ToClient int64 // bytes that were delivered
}

// Listen begins to lead connections to server, a loopback address. It may be empty:
// see Lead.
func Listen(server string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, server: server, changed: make(chan struct{}), links: make(map[*link]struct{})}
	p.wg.Go(p.accept)
	return p, nil
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Port is Addr's.
func (p *Proxy) Port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// Lead leads new connections to another server; those there are stay where they are.
// Without one they are refused.
func (p *Proxy) Lead(server string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = server
}

// LeadTo is Lead for a port on loopback.
func (p *Proxy) LeadTo(port int) { p.Lead(net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) }

// Set changes the network's condition, for connections there are and new ones.
func (p *Proxy) Set(c Condition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.now = c
	close(p.changed)
	p.changed = make(chan struct{})
}

// Reset breaks all connections off, on both sides, and returns how many they were.
// The sides get an RST and lose what they had not read.
func (p *Proxy) Reset() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.reset()
	}
	return len(p.links)
}

// Stats returns the counts.
func (p *Proxy) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Open = len(p.links)
	return s
}

// Close stops listening, resets all connections and waits for their end.
func (p *Proxy) Close() {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.changed)
	}
	p.mu.Unlock()
	_ = p.listener.Close() // twice is no matter
	p.Reset()
	p.wg.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.wg.Go(func() { p.serve(client.(*net.TCPConn)) })
	}
}

// serve leads one connection. While the way to the server is silent it does not
// reach it.
func (p *Proxy) serve(client *net.TCPConn) {
	l := &link{proxy: p, client: client, gone: make(chan struct{})}
	if !p.add(l) {
		_ = client.Close()
		return
	}
	defer p.remove(l)
	if _, ok := l.pass(toServer); !ok {
		l.reset()
		return
	}
	p.mu.Lock()
	server := p.server
	p.mu.Unlock()
	dialer := net.Dialer{Timeout: dialLimit}
	conn, err := dialer.Dial("tcp", server)
	if err != nil || !l.join(conn.(*net.TCPConn)) {
		l.reset()
		return
	}
	for _, c := range []*net.TCPConn{l.client, l.server} {
		_ = c.SetReadBuffer(buffer)
		_ = c.SetWriteBuffer(buffer)
	}
	var both sync.WaitGroup
	both.Go(func() { l.copy(toServer, l.server, l.client) })
	both.Go(func() { l.copy(toClient, l.client, l.server) })
	both.Wait()
	l.reset() // both directions have ended: there is nothing left to lose
}

func (p *Proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.stats.Connections++
	p.links[l] = struct{}{}
	return true
}

func (p *Proxy) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// delivered counts.
func (p *Proxy) delivered(d direction, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d == toServer {
		p.stats.ToServer += int64(n)
	} else {
		p.stats.ToClient += int64(n)
	}
}

// errReset ends a direction of a connection that was reset.
var errReset = errors.New("reset")

// ended reports whether a read came to a side's orderly end.
func ended(err error) bool { return errors.Is(err, io.EOF) }

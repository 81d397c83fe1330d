package wire

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Endpoint is an address to connect to.
type Endpoint struct {
	Host string // host:port
	TLS  bool
}

// String returns the endpoint as a URL.
func (e Endpoint) String() string {
	if e.TLS {
		return "pulsar+ssl://" + e.Host
	}
	return "pulsar://" + e.Host
}

// Config says how to connect. All of it but Name must be set.
type Config struct {
	Hosts     []Endpoint                  // asked in turn which broker serves a topic; all with TLS, or none
	Name      string                      // shown in the broker's statistics
	Token     func() (string, error)      // for each connection, and each challenge; "": none
	TLS       func() (*tls.Config, error) // for each connection; ServerName is set to the host
	Timeout   time.Duration               // of a connection's begin, and of one request
	KeepAlive time.Duration               // a connection that is silent for twice this is ended
}

// Client is a set of connections to the brokers of one cluster, one per broker.
// Safe for concurrent use. A connection stays until it breaks or Close.
//
// Invariants:
//
//  1. A connection that has ended is never used again: nothing reconnects, so
//     nothing can be sent twice.
//  2. Nothing waits longer than Config.Timeout for one answer.
type Client struct {
	cfg    Config
	turn   atomic.Uint32 // of the hosts
	nextID atomic.Uint64 // of producers
	life   context.Context
	end    context.CancelCauseFunc

	mu      sync.Mutex
	conns   map[route]*opening
	running sync.WaitGroup // dials and connections
}

// route is where a connection leads: to a broker, maybe through a proxy.
type route struct {
	at     Endpoint // what is dialed
	broker string   // host:port that a proxy leads to; "" without a proxy
}

// opening is a connection, or one that is about to be.
type opening struct {
	done chan struct{} // closed when the others are set
	conn *conn
	err  error
}

// ended reports whether there is no connection any more.
func (o *opening) ended() bool {
	select {
	case <-o.done:
	default:
		return false
	}
	if o.err != nil {
		return true
	}
	select {
	case <-o.conn.dead:
		return true
	default:
		return false
	}
}

// New returns a client, without connecting.
func New(cfg Config) *Client {
	c := &Client{cfg: cfg, conns: make(map[route]*opening)}
	c.life, c.end = context.WithCancelCause(context.Background())
	return c
}

// Close ends all connections, and with them producers and requests.
func (c *Client) Close() {
	c.mu.Lock() // behind it nothing new is opened
	c.end(ErrClosed)
	c.mu.Unlock()
	c.running.Wait()
}

// ConnectError says that a connection could not be made. Err is of the network,
// of TLS, ErrProtocol, a *ServerError, or of Config.Token or Config.TLS.
type ConnectError struct {
	To  Endpoint
	Err error
}

func (e *ConnectError) Error() string { return fmt.Sprintf("connecting to %s: %v", e.To.Host, e.Err) }
func (e *ConnectError) Unwrap() error { return e.Err }

// connection returns the connection along a route, and makes it if there is none.
func (c *Client) connection(ctx context.Context, r route) (*conn, error) {
	c.mu.Lock()
	o := c.conns[r]
	if o == nil || o.ended() {
		if c.life.Err() != nil {
			c.mu.Unlock()
			return nil, ErrClosed
		}
		o = &opening{done: make(chan struct{})}
		c.conns[r] = o
		c.running.Go(func() { c.open(r, o) })
	}
	c.mu.Unlock()
	select {
	case <-o.done:
		return o.conn, o.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// open makes a connection and serves it to its end. Those who wait for it may
// come and go, so it has a time limit of its own.
func (c *Client) open(r route, o *opening) {
	ctx, cancel := context.WithTimeout(c.life, c.cfg.Timeout)
	raw, _, err := connect(ctx, &c.cfg, r)
	cancel()
	switch {
	case err == nil:
		o.conn = newConn(raw, &c.cfg)
	case c.life.Err() != nil:
		o.err = ErrClosed
	default:
		o.err = &ConnectError{r.at, err}
	}
	if o.err != nil {
		c.forget(r, o)
		close(o.done)
		return
	}
	close(o.done)
	stop := context.AfterFunc(c.life, func() { o.conn.end(ErrClosed) })
	defer stop()
	<-o.conn.dead
	c.forget(r, o)
	o.conn.running.Wait()
}

func (c *Client) forget(r route, o *opening) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns[r] == o {
		delete(c.conns, r)
	}
}

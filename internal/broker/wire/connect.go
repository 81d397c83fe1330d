package wire

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// maxGreeting bounds a greeting, in bytes. It has some dozen.
const maxGreeting = 64 << 10

// Greet connects, exchanges greetings, and closes. Errors: of the network and of
// TLS as they are, ErrProtocol, *ServerError, and those of Config.Token and TLS.
func Greet(ctx context.Context, cfg *Config, e Endpoint) (Greeting, error) {
	c, hello, err := connect(ctx, cfg, route{at: e})
	if err != nil {
		return Greeting{}, err
	}
	_ = c.Close()
	return hello, nil
}

// connect makes a connection on which greetings have been exchanged. ctx bounds
// that, not the connection.
func connect(ctx context.Context, cfg *Config, r route) (_ net.Conn, hello Greeting, err error) {
	token, err := cfg.Token()
	if err != nil {
		return nil, hello, err
	}
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.at.Host)
	if err != nil {
		return nil, hello, err
	}
	defer func() {
		if err != nil {
			_ = raw.Close()
		}
	}()
	if deadline, ok := ctx.Deadline(); ok {
		_ = raw.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	paced := &pacedConn{Conn: raw}
	var c net.Conn = paced
	if r.at.TLS {
		config, err := cfg.TLS()
		if err != nil {
			return nil, hello, err
		}
		if config.ServerName, _, err = net.SplitHostPort(r.at.Host); err != nil {
			return nil, hello, err
		}
		secure := tls.Client(paced, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, hello, err
		}
		c = secure
	}
	hello, err = exchangeGreetings(c, cfg.Name, token, r.broker)
	if err == nil && !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		stop()
		return nil, hello, err
	}
	paced.limit = 2 * cfg.KeepAlive
	return c, hello, raw.SetDeadline(time.Time{})
}

func exchangeGreetings(c net.Conn, name, token, proxyTo string) (Greeting, error) {
	if _, err := c.Write(appendConnect(nil, name, token, proxyTo)); err != nil {
		return Greeting{}, err
	}
	var header [4]byte
	if n, err := io.ReadFull(c, header[:]); err != nil {
		if n > 0 && header[0] != 0 { // a greeting's size has a zero there
			return Greeting{}, ErrProtocol
		}
		return Greeting{}, err
	}
	size := binary.BigEndian.Uint32(header[:])
	if size < 4 || size > maxGreeting {
		return Greeting{}, ErrProtocol
	}
	frame := make([]byte, size)
	if _, err := io.ReadFull(c, frame); err != nil {
		return Greeting{}, err
	}
	kind, body, err := parseFrame(frame)
	if err != nil {
		return Greeting{}, err
	}
	return parseGreeting(kind, body)
}

// pacedConn fails when nothing moves for longer than limit: a peer whose network
// is gone. A write that is slow but goes on may take longer. It lies below TLS,
// which cannot go on with a write that timed out.
type pacedConn struct {
	net.Conn
	limit time.Duration // 0: none. Set before the connection is shared
	left  atomic.Int64  // when a large frame went on last, in nanoseconds since moment
}

// moment is what times are measured from, by the monotonic clock.
var moment = time.Now()

// goesOn says that of a large frame a part has left. Until the frame is through no PING leaves,
// and so no PONG comes, though the peer is alive.
func (c *pacedConn) goesOn() { c.left.Store(int64(time.Since(moment))) }

func (c *pacedConn) Read(p []byte) (int, error) {
	if c.limit == 0 {
		return c.Conn.Read(p)
	}
	wait := c.limit
	for {
		_ = c.SetReadDeadline(time.Now().Add(wait))
		n, err := c.Conn.Read(p)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if wait = c.limit - time.Since(moment) + time.Duration(c.left.Load()); wait <= 0 {
			return 0, c.silent(err)
		}
	}
}

func (c *pacedConn) Write(p []byte) (written int, err error) {
	if c.limit == 0 {
		return c.Conn.Write(p)
	}
	for {
		_ = c.SetWriteDeadline(time.Now().Add(c.limit))
		n, err := c.Conn.Write(p[written:])
		written += n
		if n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return written, c.silent(err)
		}
	}
}

func (c *pacedConn) silent(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("no sign of life for %s: %w", c.limit, err)
	}
	return err
}

package netfault

import (
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

type direction int

const (
	toServer direction = iota
	toClient
)

// link is one connection through the proxy.
type link struct {
	proxy          *Proxy
	client, server *net.TCPConn
	gone           chan struct{} // closed by reset

	mu     sync.Mutex
	broken bool
}

// join gives the link its other side, unless it was reset meanwhile.
func (l *link) join(server *net.TCPConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		_ = server.Close()
		return false
	}
	l.server = server
	return true
}

// reset closes both sides without a word: SO_LINGER of 0 makes it an RST, unless
// everything of that side was read and ended.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return
	}
	l.broken = true
	close(l.gone)
	for _, c := range []*net.TCPConn{l.client, l.server} {
		if c != nil {
			_ = c.SetLinger(0)
			_ = c.Close()
		}
	}
}

// pass waits while the direction is silent and returns how it is; false after a reset.
func (l *link) pass(d direction) (Way, bool) {
	for {
		l.proxy.mu.Lock()
		way, changed := l.proxy.now.ToServer, l.proxy.changed
		if d == toClient {
			way = l.proxy.now.ToClient
		}
		l.proxy.mu.Unlock()
		if !way.Silent {
			select {
			case <-l.gone:
				return way, false
			default:
				return way, true
			}
		}
		select {
		case <-changed:
		case <-l.gone:
			return way, false
		}
	}
}

// copy delivers one direction until it ends.
func (l *link) copy(d direction, to, from *net.TCPConn) {
	b := make([]byte, buffer)
	for {
		if _, ok := l.pass(d); !ok { // not read either: the sender is to feel it
			return
		}
		n, err := from.Read(b)
		if n > 0 && l.deliver(d, to, b[:n]) != nil {
			return // the other direction is told why
		}
		if err == nil {
			continue
		}
		if _, ok := l.pass(d); !ok {
			return
		}
		if !ended(err) {
			l.reset() // a reset is passed on as one
			return
		}
		_ = to.CloseWrite()
		return
	}
}

// deliver writes b as the direction's condition lets it, which may change meanwhile.
func (l *link) deliver(d direction, to *net.TCPConn, b []byte) error {
	for len(b) > 0 {
		way, ok := l.pass(d)
		if !ok {
			return errReset
		}
		piece, pause := way.next(len(b))
		n, err := to.Write(b[:piece])
		l.proxy.delivered(d, n)
		if err != nil {
			return err
		}
		b = b[n:]
		if pause > 0 {
			l.wait(pause)
		}
	}
	return nil
}

// wait is cut short by a reset, and by another condition.
func (l *link) wait(d time.Duration) {
	l.proxy.mu.Lock()
	changed := l.proxy.changed
	l.proxy.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-changed:
	case <-l.gone:
	}
}

// beat is how often a slow direction delivers something.
const beat = 50 * time.Millisecond

// next says how many of n bytes go now, and what is waited for after them.
func (w Way) next(n int) (piece int, pause time.Duration) {
	piece = n
	if w.Slice > 0 {
		piece = min(n, 1+rand.IntN(w.Slice))
		if w.Pause > 0 && rand.IntN(32) == 0 { // or a kilobyte would take a second
			pause = rand.N(w.Pause)
		}
	}
	if w.Rate > 0 {
		piece = min(piece, max(1, int(int64(w.Rate)*int64(beat)/int64(time.Second))))
		pause = max(pause, time.Duration(int64(piece)*int64(time.Second)/int64(w.Rate)))
	}
	return piece, pause
}

package capture

import (
	"crypto/tls"
	"net"
	"syscall"
	"time"
)

const (
	// behindLimit is how long after a commit its rows may be sent before the
	// stream counts as running behind. Where daemon and servers share cores that are
	// busy, being woken for each row is what keeps it there.
	behindLimit = 5 * time.Millisecond
	// gatherTime is how long reading then waits for gatherBytes to arrive.
	gatherTime  = 4 * time.Millisecond
	gatherBytes = chunkSize * 3 / 4
)

// pacer lets the stream gather while it runs behind. The server sends each row
// with a system call of its own; being woken for each costs ten times what
// decoding does, and takes that time from the server when they share cores.
// A stream that keeps up is read at once.
type pacer struct {
	conn   syscall.RawConn // nil: the socket cannot be told
	on     bool
	waited bool
}

func newPacer(conn net.Conn) pacer {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if c, ok := conn.(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			return pacer{conn: raw}
		}
	}
	return pacer{}
}

// gather waits until gatherBytes have come, or the read deadline. What fails
// in it shows again in the read that follows. That read must have a short
// deadline too, and off must be called if it finds nothing: until then the
// socket does not wake anyone for less than gatherBytes.
func (p *pacer) gather() {
	if !p.on {
		p.on = p.setLowWater(gatherBytes)
	}
	if p.on {
		p.waited = false
		_ = p.conn.Read(p.wait)
	}
}

// wait makes RawConn.Read wait once before it is asked again.
func (p *pacer) wait(uintptr) bool {
	waited := p.waited
	p.waited = true
	return waited
}

func (p *pacer) off() {
	if p.on {
		p.on = !p.setLowWater(1)
	}
}

func (p *pacer) setLowWater(n int) bool {
	if p.conn == nil {
		return false
	}
	var failed error
	err := p.conn.Control(func(fd uintptr) { failed = setReceiveLowWater(fd, n) })
	return err == nil && failed == nil
}

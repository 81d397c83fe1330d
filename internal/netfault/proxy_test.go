package netfault

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ends is both ends of a connection through a proxy.
type ends struct {
	proxy          *Proxy
	client, server *net.TCPConn
}

// patience bounds what a test waits for; a shared machine may be slow.
const patience = 20 * time.Second

func connect(t *testing.T) *ends {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	e := &ends{}
	if e.proxy, err = Listen(l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.proxy.Close)
	e.dial(t)
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	e.server = server.(*net.TCPConn)
	t.Cleanup(func() { _ = server.Close() })
	_ = e.server.SetDeadline(time.Now().Add(patience))
	return e
}

func (e *ends) dial(t *testing.T) {
	t.Helper()
	client, err := net.Dial("tcp", e.proxy.Addr())
	if err != nil {
		t.Fatal(err)
	}
	e.client = client.(*net.TCPConn)
	t.Cleanup(func() { _ = client.Close() })
	_ = e.client.SetDeadline(time.Now().Add(patience))
}

func send(t *testing.T, to net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(to, text); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, from net.Conn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(from, got); err != nil || string(got) != text {
		t.Fatalf("%q %v, want %q", got, err, text)
	}
}

// silent requires that nothing comes, for a moment.
func silent(t *testing.T, from *net.TCPConn) {
	t.Helper()
	_ = from.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	n, err := from.Read(make([]byte, 1))
	var timeout net.Error
	if n != 0 || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("%d bytes, %v, want silence", n, err)
	}
	_ = from.SetReadDeadline(time.Now().Add(patience))
}

func TestHealthy(t *testing.T) {
	e := connect(t)
	send(t, e.client, "ping")
	receive(t, e.server, "ping")
	send(t, e.server, "pong")
	receive(t, e.client, "pong")
	_ = e.client.CloseWrite()
	if n, err := e.server.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("%d, %v, want the end", n, err)
	}
	send(t, e.server, "bye") // the other direction goes on
	receive(t, e.client, "bye")
	if s := e.proxy.Stats(); s.Connections != 1 || s.ToServer != 4 || s.ToClient != 7 {
		t.Errorf("%+v", s)
	}
}

// Both ends are told in the middle of the stream.
func TestReset(t *testing.T) {
	e := connect(t)
	send(t, e.client, "ping")
	receive(t, e.server, "ping")
	if n := e.proxy.Reset(); n != 1 {
		t.Fatalf("%d connections", n)
	}
	for _, c := range []net.Conn{e.client, e.server} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%v, want a reset", err)
		}
	}
}

// A reset of one side reaches the other.
func TestResetIsPassedOn(t *testing.T) {
	e := connect(t)
	send(t, e.client, "ping")
	receive(t, e.server, "ping")
	_ = e.server.SetLinger(0)
	_ = e.server.Close()
	if _, err := e.client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want a reset", err)
	}
}

// In silence nothing passes, not even an end; then all of it does.
func TestSilence(t *testing.T) {
	for name, c := range map[string]struct {
		condition          Condition
		toServer, toClient bool // what is silent
	}{
		"half open": {HalfOpen, true, true},
		"deaf":      {Deaf, true, false},
		"mute":      {Mute, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			e := connect(t)
			e.proxy.Set(c.condition)
			// A read that was under way when it became silent delivers nothing either.
			send(t, e.client, "up")
			send(t, e.server, "down")
			_ = e.server.CloseWrite()
			if c.toServer {
				silent(t, e.server)
			} else {
				receive(t, e.server, "up")
			}
			if c.toClient {
				silent(t, e.client)
			} else {
				receive(t, e.client, "down")
			}
			e.proxy.Set(Healthy)
			if c.toServer {
				receive(t, e.server, "up")
			}
			if c.toClient {
				receive(t, e.client, "down")
			}
			if _, err := e.client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("%v, want the end", err)
			}
		})
	}
}

// The sender's buffers fill up: what is not delivered is not taken.
func TestSilenceIsFelt(t *testing.T) {
	e := connect(t)
	e.proxy.Set(Deaf)
	_ = e.client.SetWriteBuffer(buffer)
	_ = e.client.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	n, err := e.client.Write(make([]byte, 16<<20))
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if n > 8<<20 {
		t.Errorf("%d bytes were taken", n)
	}
}

// What connects in silence is accepted and gets no answer, until it is over.
func TestConnectInSilence(t *testing.T) {
	e := connect(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	e.proxy.Set(HalfOpen)
	e.dial(t)
	send(t, e.client, "hello")
	silent(t, e.client)
	// It leads to where the server is by then.
	e.proxy.Lead(l.Addr().String())
	e.proxy.Set(Healthy)
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	receive(t, server, "hello")
}

// However they are cut and slowed, the bytes are the same.
func TestBytesStayTheSame(t *testing.T) {
	all := make([]byte, 20_000)
	for i := range all {
		all[i] = byte(i * 7)
	}
	e := connect(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i, c := range []Condition{Sliced, {ToServer: Way{Rate: 100 << 10}}, HalfOpen, Sliced, Healthy} {
			if _, err := e.client.Write(all[i*4000 : (i+1)*4000]); err != nil {
				t.Error(err)
			}
			e.proxy.Set(c)
		}
	})
	got := make([]byte, len(all))
	if _, err := io.ReadFull(e.server, got); err != nil || !bytes.Equal(got, all) {
		t.Errorf("%v; equal %t", err, bytes.Equal(got, all))
	}
	wg.Wait()
}

func TestSlow(t *testing.T) {
	e := connect(t)
	e.proxy.Set(Slow)
	began := time.Now()
	send(t, e.client, string(make([]byte, 512)))
	receive(t, e.server, string(make([]byte, 512)))
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("512 bytes at 1 KB/s took %s", took)
	}
}

func TestSlicesAreSmall(t *testing.T) {
	for range 1000 {
		if n, pause := Sliced.ToServer.next(100); n < 1 || n > 7 || pause >= time.Millisecond {
			t.Fatalf("%d bytes, then %s", n, pause)
		}
	}
	if n, _ := Slow.ToServer.next(1 << 20); n != 51 {
		t.Errorf("%d bytes at once", n)
	}
}

// A server that is not there refuses, as far as a proxy can say it.
func TestNoServer(t *testing.T) {
	p, err := Listen("")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.LeadTo(1)
	if c, err := net.Dial("tcp", p.Addr()); err == nil { // or it was reset already
		defer func() { _ = c.Close() }()
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("something was read")
		}
	}
	p.Close() // twice is no matter
}

package wire

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pierrec/lz4/v4"

	"github.com/runnel-cdc/runnel/internal/properties"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a broker on loopback that does as it should, but for the commands that
// a test answers itself.
type fake struct {
	t        testing.TB
	listener net.Listener
	answers  map[command]func(s *session, body []byte)

	mu       sync.Mutex
	sessions []*session
	stored   []stored
	got      []command
	seen     chan struct{} // a token for every change of the above
	serving  sync.WaitGroup
}

// session is one connection to a fake.
type session struct {
	*fake
	conn  net.Conn
	named string // by CONNECT as the broker that a proxy is to lead to
	token string
}

// stored is a batch as it arrived.
type stored struct {
	producer, first, last uint64
	meta                  map[int]any // fields of MessageMetadata: uint64 or string
	messages              []storedMessage
	size                  int // as the broker counts it
}

type storedMessage struct {
	properties     map[string]string
	key, payload   string
	event, ordinal uint64
}

func newFake(t testing.TB, answers map[command]func(*session, []byte)) *fake {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, l, answers)
}

func serve(t testing.TB, l net.Listener, answers map[command]func(*session, []byte)) *fake {
	b := &fake{t: t, listener: l, answers: answers, seen: make(chan struct{}, 1)}
	b.serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s := &session{fake: b, conn: c}
			b.change(func() { b.sessions = append(b.sessions, s) })
			b.serving.Go(s.serve)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		b.hangUp()
		b.serving.Wait()
	})
	return b
}

func (b *fake) endpoint() Endpoint { return Endpoint{Host: b.listener.Addr().String()} }

func (b *fake) hangUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.sessions {
		_ = s.conn.Close()
	}
}

func (b *fake) change(f func()) {
	b.mu.Lock()
	f()
	b.mu.Unlock()
	select {
	case b.seen <- struct{}{}:
	default:
	}
}

// until waits for a condition on what arrived.
func (b *fake) until(what string, ok func() bool) {
	b.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		b.mu.Lock()
		done := ok()
		b.mu.Unlock()
		if done {
			return
		}
		select {
		case <-b.seen:
		case <-deadline:
			b.t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func (b *fake) count(c command) (n int) {
	for _, k := range b.got {
		if k == c {
			n++
		}
	}
	return n
}

func (s *session) say(c command, body []byte) { _, _ = s.conn.Write(appendFrame(nil, c, body)) }

func (s *session) serve() {
	defer func() { _ = s.conn.Close() }()
	for {
		var header [4]byte
		if _, err := io.ReadFull(s.conn, header[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(header[:]))
		if _, err := io.ReadFull(s.conn, frame); err != nil {
			return
		}
		kind, body, err := parseFrame(frame)
		if err != nil {
			s.t.Errorf("a frame of this side's: %v", err)
			return
		}
		s.change(func() { s.got = append(s.got, kind) })
		if kind == cmdSend {
			batch, err := parseSend(body, frame[4+binary.BigEndian.Uint32(frame):])
			if err != nil {
				s.t.Errorf("a batch: %v", err)
			}
			s.change(func() { s.stored = append(s.stored, batch) })
		}
		if answer := s.answers[kind]; answer != nil {
			answer(s, body)
		} else {
			s.obey(kind, fields(body))
		}
	}
}

// obey does as a broker should.
func (s *session) obey(kind command, f map[int]any) {
	number := func(i int) uint64 { n, _ := f[i].(uint64); return n }
	switch kind {
	case cmdConnect:
		s.change(func() { s.named, _ = f[6].(string); s.token, _ = f[3].(string) })
		s.say(cmdConnected, appendUint(appendBytes(nil, 1, "fake"), 3, 5<<20))
	case cmdLookup:
		s.say(cmdLookupAnswer, lookupTo(number(2), lookupConnect, s.endpoint().String()))
	case cmdProducer:
		name, _ := f[4].(string)
		s.say(cmdProducerSuccess, producerSuccess(number(3), name, 41))
	case cmdSchema:
		s.say(cmdSchemaAnswer, appendBytes(appendUint(nil, 1, number(1)), 4, "\x00\x00\x00\x00\x00\x00\x00\x09"))
	case cmdCloseProducer:
		s.say(cmdSuccess, appendUint(nil, 1, number(2)))
	case cmdPing:
		s.say(cmdPong, nil)
	case cmdSend:
		s.say(cmdSendReceipt, receiptOf(number(1), number(2), 7, number(2)))
	}
}

func lookupTo(request, kind uint64, address string) []byte {
	return appendUint(appendUint(appendBytes(nil, 1, address), 3, kind), 4, request)
}

func producerSuccess(request uint64, name string, last int64) []byte {
	body := appendBytes(appendUint(nil, 1, request), 2, name)
	return appendBytes(appendUint(body, 3, uint64(last)), 4, "\x00\x00\x00\x00\x00\x00\x00\x05")
}

func receiptOf(producer, sequence, ledger, entry uint64) []byte {
	id := appendUint(appendUint(nil, 1, ledger), 2, entry)
	return appendBytes(appendUint(appendUint(nil, 1, producer), 2, sequence), 3, id)
}

func refusalOf(request uint64, code Code, message string) []byte {
	return appendBytes(appendUint(appendUint(nil, 1, request), 2, uint64(code)), 3, message)
}

// fields returns a message's fields by number: the last of each.
func fields(message []byte) map[int]any {
	all := make(map[int]any)
	_ = eachField(message, func(n int, value uint64, data []byte) {
		if all[n] = value; data != nil {
			all[n] = string(data)
		}
	})
	return all
}

// parseSend reads a SEND and what follows it, as a broker and a consumer do.
func parseSend(body, rest []byte) (b stored, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("cut short")
		}
	}()
	b.size = len(rest)
	send := fields(body)
	b.producer, b.first = send[1].(uint64), send[2].(uint64)
	if magic := binary.BigEndian.Uint16(rest); magic != 0x0e01 {
		return b, errors.New("no magic number")
	}
	sum, rest := binary.BigEndian.Uint32(rest[2:]), rest[6:]
	if crc32.Checksum(rest, crc32.MakeTable(crc32.Castagnoli)) != sum {
		return b, errors.New("a wrong checksum")
	}
	size := binary.BigEndian.Uint32(rest)
	b.meta, rest = fields(rest[4:4+size]), rest[4+size:]
	if b.meta[11] != send[3] || b.meta[2] != send[2] || b.meta[24] != send[6] {
		return b, errors.New("SEND and metadata differ")
	}
	if b.meta[8] == uint64(compressionLZ4) {
		plain := make([]byte, b.meta[9].(uint64))
		n, err := lz4.UncompressBlock(rest, plain)
		if err != nil || n != len(plain) {
			return b, fmt.Errorf("%d bytes of %d: %w", n, len(plain), err)
		}
		rest = plain
	} else if b.meta[9] != uint64(len(rest)) {
		return b, errors.New("another size than it says")
	}
	for len(rest) > 0 {
		size := binary.BigEndian.Uint32(rest)
		meta := rest[4 : 4+size]
		rest = rest[4+size:]
		m := storedMessage{properties: make(map[string]string)}
		payload := uint64(0)
		if err := eachField(meta, func(n int, value uint64, data []byte) {
			switch n {
			case 1:
				kv := fields(data)
				m.properties[kv[1].(string)] = kv[2].(string)
			case 2:
				m.key = string(data)
			case 3:
				payload = value
			case 5:
				m.event = value
			case 8:
				m.ordinal = value
			}
		}); err != nil {
			return b, err
		}
		m.payload, rest = string(rest[:payload]), rest[payload:]
		b.messages = append(b.messages, m)
	}
	b.last = b.first
	if last, ok := send[6].(uint64); ok {
		b.last = last
	}
	if n := uint64(len(b.messages)); n != send[3] || b.last != b.first+n-1 {
		return b, errors.New("another number of messages")
	}
	return b, nil
}

// client returns a client that asks these fakes.
func client(t testing.TB, change func(*Config), all ...*fake) *Client {
	cfg := Config{
		Name: "test", Token: func() (string, error) { return "", nil },
		TLS:     func() (*tls.Config, error) { return &tls.Config{MinVersion: tls.VersionTLS12}, nil },
		Timeout: 10 * time.Second, KeepAlive: time.Minute,
	}
	for _, b := range all {
		cfg.Hosts = append(cfg.Hosts, b.endpoint())
	}
	if change != nil {
		change(&cfg)
	}
	c := New(cfg)
	t.Cleanup(c.Close)
	return c
}

// heard collects events.
type heard struct {
	receipts chan Receipt
	ended    chan error
}

func newHeard() *heard {
	return &heard{make(chan Receipt, 1000), make(chan error, 10)}
}

func (h *heard) Stored(r Receipt) { h.receipts <- r }
func (h *heard) Ended(err error)  { h.ended <- err }

// within takes what comes within 20 s.
func within[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("not within 20 s: %s", what)
	}
	return v
}

const topic = "persistent://a/b/c-partition-0"

func producer(t testing.TB, c *Client, h Events) *Producer {
	t.Helper()
	p, err := c.Producer(t.Context(), ProducerRequest{Topic: topic, Name: "me", Schema: &Schema{Name: "E", JSON: "{}"}}, h)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// send sends a batch of n messages.
func send(p *Producer, n int) {
	b := p.NewBatch(p.SchemaVersion())
	for range n {
		p.Add(b, &Message{Key: "k", Payload: []byte("payload"), Properties: properties.List{{Name: "a", Value: "b"}}, EventTime: 5})
	}
	p.Send(b)
}

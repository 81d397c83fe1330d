package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Batches arrive as they were made, in order, with sequence ids that go on.
func TestSend(t *testing.T) {
	b := newFake(t, nil)
	c := client(t, nil, b)
	one, two := newHeard(), newHeard()
	p, q := producer(t, c, one), producer(t, c, two)
	send(p, 1)
	send(p, 3)
	send(q, 2)
	for i, want := range []Receipt{{p.id, 42, 7, 42}, {p.id, 43, 7, 43}} {
		if r := within(t, "a receipt", one.receipts); r != want {
			t.Errorf("receipt %d: %+v, want %+v", i, r, want)
		}
	}
	within(t, "the other's receipt", two.receipts)
	version, err := p.AskSchema(t.Context(), &Schema{Name: "F", JSON: "{}"})
	if err != nil || string(version) != "\x00\x00\x00\x00\x00\x00\x00\x09" {
		t.Errorf("version %x, %v", version, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.sessions) != 1 {
		t.Errorf("%d connections for two producers", len(b.sessions))
	}
	want := storedMessage{properties: map[string]string{"a": "b"}, key: "k", payload: "payload", event: 5, ordinal: 44}
	batch := b.stored[1]
	if batch.first != 43 || batch.last != 45 || len(batch.messages) != 3 || !reflect.DeepEqual(batch.messages[1], want) {
		t.Errorf("stored %+v", batch)
	}
	age := time.Since(time.UnixMilli(int64(batch.meta[3].(uint64))))
	if batch.meta[1] != "me" || batch.meta[6] != "k" || batch.meta[16] != "\x00\x00\x00\x00\x00\x00\x00\x05" || age < -time.Second || age > time.Minute {
		t.Errorf("metadata %+v", batch.meta)
	}
}

// What ends a producer is told once, and then nothing is sent.
func TestEnds(t *testing.T) {
	sendError := func(s *session, body []byte) {
		s.say(cmdSendError, appendBytes(appendUint(appendUint(appendUint(nil, 1, fields(body)[1].(uint64)), 2, 42), 3, uint64(TopicTerminated)), 4, "over"))
	}
	raw := func(data string) func(*session, []byte) {
		return func(s *session, _ []byte) { _, _ = s.conn.Write([]byte(data)) }
	}
	for name, c := range map[string]struct {
		answer func(*session, []byte)
		want   error
		closes bool // the broker still holds it
	}{
		"refused":       {sendError, &ServerError{}, true},
		"closed":        {func(s *session, body []byte) { s.say(cmdCloseProducer, appendUint(nil, 1, fields(body)[1].(uint64))) }, ErrProducerClosed, false},
		"hung up":       {func(s *session, _ []byte) { _ = s.conn.Close() }, io.EOF, false},
		"garbage":       {raw("\x00\x00\x00\x05\x00\x00\x00\x01\xff"), ErrProtocol, false},
		"a huge frame":  {raw("\x7f\x00\x00\x05"), ErrProtocol, false},
		"a small frame": {raw("\x00\x00\x00\x01\x00"), ErrProtocol, false},
		"a bad receipt": {func(s *session, _ []byte) { s.say(cmdSendReceipt, []byte{0x1a, 0x7f}) }, ErrProtocol, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFake(t, map[command]func(*session, []byte){cmdSend: c.answer})
			h := newHeard()
			p := producer(t, client(t, nil, b), h)
			send(p, 1)
			err := within(t, "the end", h.ended)
			var refused *ServerError
			if errors.As(c.want, &refused) {
				if !errors.As(err, &refused) || refused.Code != TopicTerminated || refused.Message != "over" {
					t.Errorf("%v", err)
				}
			} else if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			send(p, 1)
			if err := p.Close(t.Context()); err != nil {
				t.Error(err)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			if n := b.count(cmdSend); n != 1 || (b.count(cmdCloseProducer) == 1) != c.closes || len(h.ended) > 0 {
				t.Errorf("%d batches arrived, %d requests to close, %d more ends", n, b.count(cmdCloseProducer), len(h.ended))
			}
		})
	}
}

func TestRefusedProducer(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(*session, uint64)
		want   error
	}{
		"busy":       {func(s *session, id uint64) { s.say(cmdError, refusalOf(id, ProducerFenced, "held")) }, &ServerError{}},
		"only waits": {func(s *session, id uint64) { s.say(cmdProducerSuccess, appendUint(producerSuccess(id, "me", 0), 6, 0)) }, ErrProtocol},
		"misnamed":   {func(s *session, id uint64) { s.say(cmdProducerSuccess, producerSuccess(id, "you", 0)) }, ErrProtocol},
		"no version": {func(s *session, id uint64) {
			s.say(cmdProducerSuccess, appendUint(appendBytes(appendUint(nil, 1, id), 2, "me"), 3, 0))
		}, ErrProtocol},
		"misanswered": {func(s *session, id uint64) { s.say(cmdSuccess, appendUint(nil, 1, id)) }, ErrProtocol},
		"hung up":     {func(s *session, _ uint64) { _ = s.conn.Close() }, ErrDisconnected},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFake(t, map[command]func(*session, []byte){cmdProducer: func(s *session, body []byte) { c.answer(s, fields(body)[3].(uint64)) }})
			_, err := client(t, nil, b).Producer(t.Context(), ProducerRequest{Topic: topic, Name: "me", Schema: &Schema{Name: "F", JSON: "{}"}}, newHeard())
			var refused *ServerError
			if errors.As(c.want, &refused) {
				if !errors.As(err, &refused) || refused.Code != ProducerFenced || err.Error() != "server error: ProducerFenced: held" {
					t.Error(err)
				}
			} else if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

// A producer that nobody waits for any more is closed, should it come to be.
func TestUnansweredProducer(t *testing.T) {
	b := newFake(t, map[command]func(*session, []byte){cmdProducer: func(*session, []byte) {}})
	c := client(t, func(c *Config) { c.Timeout = 200 * time.Millisecond }, b)
	if _, err := c.Producer(t.Context(), ProducerRequest{Topic: topic, Name: "me"}, newHeard()); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	b.until("it is closed", func() bool { return b.count(cmdCloseProducer) == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		b.until("it is asked for", func() bool { return b.count(cmdProducer) == 2 })
		cancel()
	}()
	if _, err := c.Producer(ctx, ProducerRequest{Topic: topic, Name: "me"}, newHeard()); !errors.Is(err, context.Canceled) && !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	b.until("it is closed, too", func() bool { return b.count(cmdCloseProducer) == 2 })
}

func TestLookup(t *testing.T) {
	home := newFake(t, nil)
	answering := func(answer func(s *session, request uint64, authoritative any)) *fake {
		return newFake(t, map[command]func(*session, []byte){cmdLookup: func(s *session, body []byte) {
			f := fields(body)
			answer(s, f[2].(uint64), f[3])
		}})
	}
	to := func(kind uint64, address string) *fake {
		return answering(func(s *session, id uint64, _ any) { s.say(cmdLookupAnswer, lookupTo(id, kind, address)) })
	}
	insists := answering(func(s *session, id uint64, authoritative any) {
		if authoritative != uint64(1) {
			s.say(cmdLookupAnswer, appendUint(lookupTo(id, lookupRedirect, s.endpoint().String()), 5, 1))
			return
		}
		s.say(cmdLookupAnswer, lookupTo(id, lookupConnect, home.endpoint().String()))
	})
	circle := answering(func(s *session, id uint64, _ any) {
		s.say(cmdLookupAnswer, lookupTo(id, lookupRedirect, s.endpoint().String()))
	})
	fails := answering(func(s *session, id uint64, _ any) {
		body := appendUint(appendUint(appendUint(nil, 3, lookupFailed), 4, id), 6, uint64(TopicNotFound))
		s.say(cmdLookupAnswer, appendBytes(body, 7, "where?"))
	})
	proxy := answering(func(s *session, id uint64, _ any) {
		s.say(cmdLookupAnswer, appendUint(lookupTo(id, lookupConnect, "pulsar://broker-3:6650"), 8, 1))
	})
	gone := newFake(t, nil)
	_ = gone.listener.Close()
	ask := func(hosts ...*fake) error {
		p, err := client(t, nil, hosts...).Producer(t.Context(), ProducerRequest{Topic: topic, Name: "me"}, newHeard())
		if err == nil {
			err = p.Close(t.Context())
		}
		return err
	}
	for name, hosts := range map[string][]*fake{
		"at once": {home}, "by another": {to(lookupConnect, home.endpoint().String())}, "by redirect": {to(lookupRedirect, home.endpoint().String())},
		"with authority": {insists}, "behind a dead host": {gone, home}, "before a dead host": {home, gone}, "through a proxy": {proxy},
	} {
		if err := ask(hosts...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if proxy.sessions[1].named != "broker-3:6650" {
		t.Errorf("the proxy is to lead to %q", proxy.sessions[1].named)
	}
	if err := ask(circle); err == nil || circle.count(cmdLookup) != maxRedirects {
		t.Errorf("in a circle: %v after %d questions", err, circle.count(cmdLookup))
	}
	var refused *ServerError
	if err := ask(fails); !errors.As(err, &refused) || refused.Code != TopicNotFound || refused.Message != "where?" {
		t.Errorf("failed: %v", err)
	}
	var connecting *ConnectError
	if err := ask(gone); !errors.As(err, &connecting) || connecting.To != gone.endpoint() {
		t.Errorf("dead: %v", err)
	}
	if err := ask(gone, gone); !errors.As(err, &connecting) {
		t.Errorf("all dead: %v", err)
	}
	for _, bad := range []string{"", "broker:6650", "http://broker:6650", "pulsar://broker", "pulsar://u@broker:6650", "pulsar+ssl://broker:6651", "pulsar://%zz:1"} {
		if err := ask(to(lookupConnect, bad)); !errors.Is(err, ErrProtocol) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := ask(to(7, home.endpoint().String())); !errors.Is(err, ErrProtocol) {
		t.Errorf("neither: %v", err)
	}
	// With TLS, an address without is no answer.
	answer := lookupAnswer{url: "pulsar://broker:6650"}
	if _, err := answer.route(Endpoint{"broker:6651", true}); !errors.Is(err, ErrProtocol) {
		t.Errorf("without TLS: %v", err)
	}
	answer.urlTLS = "pulsar+ssl://broker:6651"
	if r, err := answer.route(Endpoint{"other:6651", true}); err != nil || r != (route{at: Endpoint{"broker:6651", true}}) {
		t.Errorf("%+v, %v", r, err)
	}
}

// A broker that asks whether somebody is there is answered, one that asks for a
// newer token gets it.
func TestBrokerAsks(t *testing.T) {
	answers := make(chan string, 10)
	b := newFake(t, map[command]func(*session, []byte){
		cmdPong: func(*session, []byte) { answers <- "pong" },
		cmdAuthResponse: func(_ *session, body []byte) {
			data := fields([]byte(fields(body)[2].(string)))
			answers <- data[1].(string) + " " + data[2].(string)
		},
	})
	tokens := 0
	c := client(t, func(c *Config) {
		c.Token = func() (string, error) {
			if tokens++; tokens > 2 {
				return "", errors.New("no token any more")
			}
			return fmt.Sprint("token-", tokens), nil
		}
	}, b)
	h := newHeard()
	producer(t, c, h)
	s := b.sessions[0]
	if s.token != "token-1" {
		t.Errorf("CONNECT shows %q", s.token)
	}
	s.say(cmdPing, nil)
	s.say(cmdAuthChallenge, nil)
	s.say(99, []byte("who knows"))
	for _, want := range []string{"pong", "token token-2"} {
		if got := within(t, want, answers); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	s.say(cmdAuthChallenge, nil)
	if err := within(t, "the end", h.ended); !strings.Contains(err.Error(), "no token any more") {
		t.Error(err)
	}
}

// A peer whose network is gone is given up; one that answers is not.
func TestKeepAlive(t *testing.T) {
	silent := make(chan struct{})
	b := newFake(t, map[command]func(*session, []byte){cmdPing: func(s *session, _ []byte) {
		select {
		case <-silent:
		default:
			s.say(cmdPong, nil)
		}
	}})
	c := client(t, func(c *Config) { c.KeepAlive = 200 * time.Millisecond }, b)
	h := newHeard()
	producer(t, c, h)
	b.until("several pings", func() bool { return b.count(cmdPing) >= 5 })
	if len(h.ended) > 0 {
		t.Fatal(<-h.ended)
	}
	close(silent)
	if err := within(t, "the end", h.ended); !errors.Is(err, ErrDisconnected) || !strings.Contains(err.Error(), "no sign of life for 400ms") {
		t.Error(err)
	}
}

// A peer that takes nothing is given up as well; one that is slow is not.
func TestPacedWrites(t *testing.T) {
	near, far := net.Pipe()
	defer func() { _, _ = near.Close(), far.Close() }()
	c := &pacedConn{Conn: near, limit: 300 * time.Millisecond}
	slow := make(chan struct{})
	go func() {
		defer close(slow)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for range 10 {
			<-tick.C
			_, _ = far.Read(make([]byte, 10))
		}
	}()
	if n, err := c.Write(make([]byte, 100)); n != 100 || err != nil {
		t.Errorf("slow: %d, %v", n, err)
	}
	<-slow
	if n, err := c.Write(make([]byte, 100)); n != 0 || err == nil || !strings.Contains(err.Error(), "no sign of life") {
		t.Errorf("stuck: %d, %v", n, err)
	}
}

// While a large frame goes on to leave, nothing need come: no PING is sent behind it. Once it
// does not, the peer is given up.
func TestPacedReads(t *testing.T) {
	near, far := net.Pipe()
	defer func() { _, _ = near.Close(), far.Close() }()
	c := &pacedConn{Conn: near, limit: 200 * time.Millisecond}
	began, goesOn := time.Now(), 500*time.Millisecond
	go func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if time.Since(began) > goesOn {
				return
			}
			c.goesOn()
		}
	}()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || !strings.Contains(err.Error(), "no sign of life") || time.Since(began) < goesOn {
		t.Errorf("%d, %v after %s", n, err, time.Since(began))
	}
}

// With TLS the certificate is checked, as the host that is dialed.
func TestTLS(t *testing.T) {
	web := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate: 127.0.0.1, example.com
	defer web.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := serve(t, tls.NewListener(l, &tls.Config{Certificates: web.TLS.Certificates}), map[command]func(*session, []byte){
		cmdLookup: func(s *session, body []byte) {
			s.say(cmdLookupAnswer, appendBytes(lookupTo(fields(body)[2].(uint64), lookupConnect, "pulsar://127.0.0.1:1"), 2, "pulsar+ssl://"+s.endpoint().Host))
		},
	})
	trusted := x509.NewCertPool()
	trusted.AddCert(web.Certificate())
	_, port, _ := net.SplitHostPort(b.endpoint().Host)
	for host, ok := range map[string]bool{"127.0.0.1": true, "localhost": false} {
		c := client(t, func(c *Config) {
			c.Hosts = []Endpoint{{net.JoinHostPort(host, port), true}}
			c.TLS = func() (*tls.Config, error) { return &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}, nil }
		})
		h := newHeard()
		p, err := c.Producer(t.Context(), ProducerRequest{Topic: topic, Name: "me"}, h)
		if (err == nil) != ok {
			t.Fatalf("%s: %v", host, err)
		}
		if ok {
			send(p, 1000)
			within(t, "the receipt", h.receipts)
		}
	}
}

// Close ends what is under way, wherever it is.
func TestClientClose(t *testing.T) {
	b := newFake(t, map[command]func(*session, []byte){cmdSchema: func(*session, []byte) {}})
	c := client(t, nil, b)
	h := newHeard()
	p := producer(t, c, h)
	asked := make(chan error, 1)
	go func() { _, err := p.AskSchema(t.Context(), &Schema{}); asked <- err }()
	b.until("the question arrives", func() bool { return b.count(cmdSchema) == 1 })
	c.Close()
	c.Close()
	if err := within(t, "the question's end", asked); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := within(t, "the producer's end", h.ended); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := c.Producer(t.Context(), ProducerRequest{Topic: topic}, h); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	// While it connects.
	silent := newFake(t, map[command]func(*session, []byte){cmdConnect: func(*session, []byte) {}})
	c = client(t, nil, silent)
	go func() { _, err := c.Producer(t.Context(), ProducerRequest{Topic: topic}, h); asked <- err }()
	silent.until("it is greeted", func() bool { return silent.count(cmdConnect) == 1 })
	c.Close()
	if err := within(t, "the attempt's end", asked); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// A connection that has ended is replaced by the next who asks for one.
func TestNextConnection(t *testing.T) {
	b := newFake(t, nil)
	c := client(t, nil, b)
	h := newHeard()
	producer(t, c, h)
	b.hangUp()
	if err := within(t, "the end", h.ended); !errors.Is(err, ErrDisconnected) {
		t.Error(err)
	}
	p, err := c.Producer(t.Context(), ProducerRequest{Topic: topic, Name: "me"}, h)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

package wire

import (
	"errors"
	"testing"
)

// FuzzFrame gives any bytes to whatever reads them on a connection.
func FuzzFrame(f *testing.F) {
	for _, frame := range [][]byte{
		appendFrame(nil, cmdSendReceipt, receiptOf(1, 2, 3, 4)),
		appendFrame(nil, cmdSendError, appendBytes(appendUint(appendUint(appendUint(nil, 1, 1), 2, 2), 3, 22), 4, "Exceed maximum message size")),
		appendFrame(nil, cmdCloseProducer, appendUint(appendUint(nil, 1, 1), 2, 9)),
		appendFrame(nil, cmdProducerSuccess, producerSuccess(1, "me", -1)),
		appendFrame(nil, cmdLookupAnswer, lookupTo(1, lookupConnect, "pulsar://broker:6650")),
		appendFrame(nil, cmdError, refusalOf(1, ProducerBusy, "held")),
		appendFrame(nil, cmdSchemaAnswer, appendBytes(appendUint(nil, 1, 1), 4, "version0")),
		appendFrame(nil, cmdPing, nil),
		appendFrame(nil, cmdAuthChallenge, nil),
	} {
		f.Add(frame[4:])
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		c := &conn{
			cfg: &Config{Token: func() (string, error) { return "t", nil }}, dead: make(chan struct{}), wake: make(chan struct{}, 1),
			requests: make(map[uint64]chan<- answer), producers: make(map[uint64]*Producer),
		}
		h := newHeard()
		reply := make(chan answer, 1)
		c.requests[1] = reply
		c.producers[1] = &Producer{conn: c, id: 1, events: h}
		if err := c.handle(frame); err != nil {
			if !errors.Is(err, ErrProtocol) || len(reply)+len(h.ended)+len(h.receipts) > 0 {
				t.Fatalf("%v, and yet something was done", err)
			}
			return
		}
		if len(reply) > 0 {
			a := <-reply
			if len(a.producer) > maxText || len(a.lookup.url) > maxText || (a.version != nil && len(a.version) != 8) {
				t.Fatalf("%+v", a)
			}
			if r, err := a.lookup.route(Endpoint{"asked:6650", false}); err == nil && (r.at.Host == "" || r.at.TLS) {
				t.Fatalf("%+v", r)
			}
		}
		if len(c.queue) > 1 {
			t.Fatalf("%d frames in answer to one", len(c.queue))
		}
	})
}

func FuzzGreeting(f *testing.F) {
	connected := appendFrame(nil, cmdConnected, appendUint(appendBytes(nil, 1, "Pulsar Server-4.0.8"), 3, 5<<20))
	f.Add(connected[4:])
	f.Add(appendFrame(nil, cmdError, refusalOf(0, AuthenticationError, "no"))[4:])
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		kind, body, err := parseFrame(data)
		if err != nil {
			return
		}
		g, err := parseGreeting(kind, body)
		if (err == nil) == (g.ServerVersion == "") || g.MaxMessageSize < 0 || g.MaxMessageSize > 1<<30 {
			t.Fatalf("accepted %+v, %v", g, err)
		}
	})
}

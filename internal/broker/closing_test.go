package broker

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"go.uber.org/goleak"
)

// A broker that greets and then says nothing more: Close neither waits for
// ever nor leaves anything behind.
func TestCloseWhileBrokerHangs(t *testing.T) {
	before := goleak.IgnoreCurrent()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"partitions":1}`)
	}))
	requests := make(chan struct{}, 100)
	l := plain(t)
	address := listen(t, l, func(c net.Conn) {
		answer(connected)(c)
		_, _ = c.Read(make([]byte, 1))
		select {
		case requests <- struct{}{}:
		default:
		}
		_, _ = io.Copy(io.Discard, c)
	})
	const timeout = 300 * time.Millisecond
	p, err := Dial(t.Context(), Config{URL: "pulsar://" + address, AdminURL: web.URL, OperationTimeout: timeout, KeepAlive: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	<-requests // Dial's own connection ended
	q := Partition{Topic: "persistent://public/runnel/order"}
	failed := make(chan error, 2)
	go func() { _, err := p.Read(t.Context(), q, Start{}); failed <- err }()
	canceled, cancel := context.WithCancel(t.Context())
	go func() { _, err := p.Subscribe(canceled, q, "sub"); failed <- err }()
	<-requests
	cancel()
	started := time.Now()
	p.Close()
	if took := time.Since(started); took > 10*timeout {
		t.Errorf("Close took %s", took)
	}
	for range 2 {
		if err := <-failed; !errors.Is(err, ErrLost) && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	web.Close()
	_ = l.Close()
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}

// A call on its way when the connection closes: the admin interface.
func TestCloseEndsRequests(t *testing.T) {
	asked := make(chan struct{})
	p, _ := restOf(t, func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	}, Config{})
	failed := make(chan error)
	go func() { failed <- p.Health(t.Context()) }()
	<-asked
	p.rest.close()
	if err := <-failed; !errors.Is(err, ErrLost) {
		t.Error(err)
	}
	if err := p.Health(t.Context()); !errors.Is(err, ErrLost) {
		t.Error(err)
	}
}

// hanging is a client's reader whose broker is gone: closing it asks the broker.
type hanging struct {
	pulsar.Reader
	patience time.Duration
}

func (h hanging) Close() { <-time.After(h.patience) }

// A reader's Close does not wait for a broker that is gone; the connection's does.
func TestReaderCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pulsar{others: make(map[closer]struct{})}
		r := &reader{owner: p, link: &readerLink{client: hanging{patience: time.Minute}}}
		began := time.Now()
		r.Close()
		if took := time.Since(began); took != closeWait {
			t.Errorf("Close took %s", took)
		}
		if !errors.Is(r.link.lost(), ErrLost) {
			t.Error("a Next would wait on")
		}
		p.pending.Wait()
		if took := time.Since(began); took != time.Minute {
			t.Errorf("the client's reader is taken for closed after %s", took)
		}
	})
}

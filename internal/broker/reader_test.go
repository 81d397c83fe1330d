package broker

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/apache/pulsar-client-go/pulsar"
)

// noBroker cannot be reached; asked counts how often that was tried.
type noBroker struct {
	pulsar.Client
	asked chan struct{}
}

func (c noBroker) CreateReader(pulsar.ReaderOptions) (pulsar.Reader, error) {
	c.asked <- struct{}{}
	return nil, ErrUnreachable.New("nobody is there")
}

// closable is a client's reader that nothing comes from.
type closable struct{ emptyReader }

func (closable) Close() {}

// TestReaderClosedWhileReconnecting: who is closed stops asking, though its caller
// would wait for ever.
func TestReaderClosedWhileReconnecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := noBroker{asked: make(chan struct{})}
		p := &Pulsar{client: client, producers: map[*producer]struct{}{}, others: map[closer]struct{}{}}
		r := &reader{owner: p, link: &readerLink{client: closable{}}, after: none()}
		ended := make(chan error)
		go func() {
			_, err := r.Next(t.Context())
			ended <- err
		}()
		synctest.Wait()
		r.current().reconnects()
		for range 5 { // it waits for the broker
			<-client.asked
		}
		r.Close()
		if err := <-ended; !errors.Is(err, ErrLost) {
			t.Errorf("%v", err)
		}
		p.pending.Wait()
	})
}

package broker

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
)

// emptyReader never gets the message that is said to be there.
type emptyReader struct{ pulsar.Reader }

func (emptyReader) Next(ctx context.Context) (pulsar.Message, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestUnreadable(t *testing.T) {
	p := &Pulsar{cfg: Config{OperationTimeout: 10 * time.Millisecond}}
	r := &reader{owner: p, link: &readerLink{client: emptyReader{}}, after: none()}
	if _, err := p.next(t.Context(), r, entryID{1, 5}); !errors.Is(err, ErrUnreadable) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.next(ctx, r, entryID{1, 5}); !errors.Is(err, context.Canceled) {
		t.Errorf("when the caller gives up: %v", err)
	}
}

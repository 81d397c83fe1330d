package pipeline

import (
	"context"
	"errors"
	"testing"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
)

func TestListen(t *testing.T) {
	first, err := listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Close() }()
	second, err := listen(t.Context(), first.Addr().String())
	if err != nil {
		t.Fatalf("the port is taken: %v", err)
	}
	_ = second.Close()
	for _, address := range []string{"nowhere", "192.0.2.1:9464"} {
		if _, err := listen(t.Context(), address); !errors.Is(err, ErrListen) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// A partition that ends beyond the server's WAL is of another history; a WAL
// end that was read too early is read again.
func TestInHistory(t *testing.T) {
	end := uint64(100)
	l := &loop{
		start:      position.Position{Epoch: 3, LSN: 10},
		readWALEnd: func(context.Context) (uint64, error) { return end, nil },
	}
	at := func(epoch uint32, lsn uint64) position.Stamp {
		return position.Stamp{Position: position.Position{Epoch: epoch, LSN: lsn}, Ordinal: 1}
	}
	for name, c := range map[string]struct {
		last position.Stamp
		want error
	}{
		"at the end":    {at(3, 100), nil},
		"beyond":        {at(3, 101), ErrHistory},
		"earlier epoch": {at(2, 500), nil},
	} {
		if err := l.inHistory(t.Context(), broker.Partition{Topic: "order"}, c.last); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	end = 200
	if err := l.inHistory(t.Context(), broker.Partition{Topic: "order"}, at(3, 150)); err != nil || l.walEnd.Load() != 200 {
		t.Errorf("%v; the end is taken for %d", err, l.walEnd.Load())
	}
}

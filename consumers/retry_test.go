package consumers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/internal/broker"
)

func TestRetrySchedule(t *testing.T) {
	r := Retry{}.withDefaults()
	cause := errors.New("no")
	const never = -1
	var got, forever []time.Duration
	for tries := 1; tries <= 7; tries++ {
		d, again := r.next(tries, cause)
		if !again {
			d = never
		}
		got, forever = append(got, d), append(forever, r.pause(tries, cause))
	}
	if want := []time.Duration{0, 0, time.Second, 10 * time.Second, time.Minute, never, never}; !slices.Equal(got, want) {
		t.Errorf("pauses %v, want %v", got, want)
	}
	if want := []time.Duration{0, 0, time.Second, 10 * time.Second, time.Minute, time.Minute, time.Minute}; !slices.Equal(forever, want) {
		t.Errorf("for ever: pauses %v, want %v", forever, want)
	}
	later := fmt.Errorf("wrapped: %w", RetryAfter(5*time.Second, cause))
	for _, tries := range []int{1, 100} { // as often as the handler says so
		if d, again := r.next(tries, later); d != 5*time.Second || !again || counted(tries, later) != tries {
			t.Errorf("RetryAfter waits %v, again: %v", d, again)
		}
	}
	if d, again := r.next(6, RetryAfter(-1, cause)); again || counted(5, RetryAfter(-1, cause)) != 6 {
		t.Errorf("without a duration, RetryAfter waits %v, again: %v", d, again)
	}
	if d, again := r.next(1, ErrUndecodable.New("bytes")); again {
		t.Errorf("undecodable waits %v: its bytes won't change", d)
	}
}

func TestAnswers(t *testing.T) {
	if Discard(nil) != nil || RetryAfter(time.Second, nil) != nil {
		t.Error("no error became one")
	}
	cause := errors.New("cause")
	if !errors.Is(Discard(cause), cause) || !errors.Is(RetryAfter(0, cause), cause) {
		t.Error("the cause is lost")
	}
}

// An outage is logged at its beginning, seldom while it lasts, and at its end.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		o := outage{what: "reaching it", log: slog.New(slog.NewTextHandler(&out, nil)), sleep: sleep}
		start := time.Now()
		for range 20 {
			if err := o.wait(t.Context(), errors.New("down")); err != nil {
				t.Fatal(err)
			}
		}
		if lasted := time.Since(start); lasted < 4*time.Minute || lasted > 7*time.Minute {
			t.Errorf("20 tries lasted %v", lasted)
		}
		o.over()
		o.over()
		if n := strings.Count(out.String(), "trying again"); n < 2 || n > 14 {
			t.Errorf("%d lines about the outage", n)
		}
		if strings.Count(out.String(), "works again") != 1 {
			t.Error("no line about its end")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := o.wait(ctx, errors.New("down")); !errors.Is(err, context.Canceled) {
			t.Errorf("ended wait: %v", err)
		}
	})
}

func TestClassify(t *testing.T) {
	ctx := t.Context()
	ended, cancel := context.WithCancel(ctx)
	cancel()
	pg := func(code string) error { return fmt.Errorf("handler: %w", &pgconn.PgError{Code: code}) }
	for _, c := range []struct {
		name   string
		ctx    context.Context
		err    error
		closed bool
		want   class
	}{
		{"plain", ctx, errors.New("no"), false, failed},
		{"unique", ctx, pg("23505"), false, failed},
		{"serialization", ctx, pg("40001"), false, conflict},
		{"deadlock", ctx, pg("40P01"), false, conflict},
		{"shutdown", ctx, pg("57P01"), true, down},
		{"starting", ctx, pg("57P03"), true, down},
		{"statement timeout", ctx, pg("57014"), false, failed},
		{"disk full", ctx, pg("53100"), false, down},
		{"standby", ctx, pg("25006"), false, down},
		{"idle in transaction", ctx, pg("25P03"), true, failed},
		{"transaction open for too long", ctx, pg("25P04"), true, failed},
		{"connection lost", ctx, io.ErrUnexpectedEOF, true, down},
		{"handler's own deadline", ctx, context.DeadlineExceeded, true, failed},
		{"stopping", ended, pg("40001"), true, stopping},
	} {
		if got := classify(c.ctx, c.err, c.closed); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestInboxIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := newInbox(3, 100)
		sent := 0
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for {
				if box.put(ctx, &broker.Incoming{Payload: make([]byte, 40)}) != nil {
					box.fail(io.EOF)
					return
				}
				sent++
			}
		}()
		synctest.Wait()
		if sent != 2 {
			t.Errorf("%d of 40 bytes fit into 100", sent)
		}
		for range 4 {
			batch, err := box.take(t.Context(), time.Minute)
			if err != nil || len(batch) != 2 {
				t.Fatalf("took %d: %v", len(batch), err)
			}
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		if batch, err := box.take(t.Context(), time.Minute); err != nil || len(batch) != 2 {
			t.Errorf("what was received before the end: %d, %v", len(batch), err)
		}
		if _, err := box.take(t.Context(), time.Minute); !errors.Is(err, io.EOF) {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestInboxTakesOneThatIsTooLarge(t *testing.T) {
	box := newInbox(3, 100)
	if err := box.put(t.Context(), &broker.Incoming{Payload: make([]byte, 1000)}); err != nil {
		t.Fatal(err)
	}
	if batch, err := box.take(t.Context(), time.Minute); err != nil || len(batch) != 1 {
		t.Errorf("took %d: %v", len(batch), err)
	}
}

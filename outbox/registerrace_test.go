package outbox_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// A service may publish before the daemon registers the first types, and while it
// does: either none was registered for its statement, or all were. A check that
// looked twice, once before and once after, refused the event.
func TestFirstTypesRegisteredWhilePublishing(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	const publishers, rounds = 3, 300
	ended := make(chan struct{})
	done := make(chan error, publishers)
	for range publishers {
		conn := pgtest.Conn(t, b.writer)
		go func() {
			for n := 0; ; n++ {
				select {
				case <-ended:
					if n == 0 {
						t.Error("a publisher never published")
					}
					done <- nil
					return
				default:
				}
				tx, err := conn.Begin(t.Context())
				if err == nil {
					_, err = outbox.Publish(t.Context(), tx, event("1"))
				}
				if err != nil {
					done <- err
					return
				}
				if err := tx.Rollback(t.Context()); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	registrar := b.Conn(t)
	for range rounds {
		register(t, registrar)
		run(t, registrar, "delete from runnel.event_type")
	}
	close(ended)
	for range publishers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func register(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	if added, err := outbox.RegisterEventTypes(t.Context(), conn, []*schemas.EventType{orderPlaced}); err != nil || added != 1 {
		t.Fatalf("registered %d types: %v", added, err)
	}
}

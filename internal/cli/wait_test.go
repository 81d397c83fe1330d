package cli

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pulsartest"
	"github.com/runnel-cdc/runnel/internal/token"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// From the writer's transaction to the reader's wait, through daemon and projection.
func TestWait(t *testing.T) {
	db := pgtest.New(t)
	l := newLive(t, db)
	of := func(id uuid.UUID) string {
		text, err := token.Token{Events: []token.Event{{ID: id, AggregateType: "order", Type: "Placed"}}}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	absent := of(uuid.UUID{}) // without a version, its age is not known
	fails := func(exit int, says string, args ...string) {
		t.Helper()
		if code, _, stderr := l.run(t.Context(), append([]string{"wait"}, args...)...); code != exit || !strings.Contains(stderr, says) {
			t.Errorf("wait %q: exit code %d, %s; want %d, %s", args, code, stderr, exit, says)
		}
	}
	fails(2, "USAGE TOKEN is missing")
	fails(2, "USAGE --projection is missing", absent)
	fails(2, "USAGE --timeout is 0s", absent, "--projection", "copy", "--timeout", "0")
	fails(2, "TOKEN_FOREIGN this database has no projection", absent, "--projection", "copy")
	fails(2, "TOKEN_MALFORMED", "x", "--projection", "copy")

	l.must("init")
	ctx, stop := context.WithCancelCause(t.Context())
	exited := make(chan int, 1)
	go func() {
		code, _, stderr := l.run(ctx, "run", "--auto-apply")
		t.Log(stderr)
		exited <- code
	}()
	namespace := ""
	for _, v := range l.environ {
		if name, ok := strings.CutPrefix(v, "RUNNEL_TOPICS_NAMESPACE="); ok {
			namespace = name
		}
	}
	pool := db.Pool(t)
	p, err := consumers.New(consumers.Config{Name: "copy", Database: pool, Namespace: namespace, Topics: []string{"order"}, WaitWindow: time.Minute,
		Broker: consumers.BrokerConfig{URL: pulsartest.URL(t), AdminURL: pulsartest.AdminURL(t)},
		Migrate: func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "create table seen (id uuid primary key)")
			return err
		}})
	if err != nil {
		t.Fatal(err)
	}
	consumers.HandleBatch(p, func(ctx context.Context, tx pgx.Tx, all []consumers.Message) error {
		for _, m := range all {
			if _, err := tx.Exec(ctx, "insert into seen values ($1)", m.ID); err != nil {
				return err
			}
		}
		return nil
	})
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	pgtest.Eventually(t, time.Minute, func() bool { return len(p.Status()) > 0 }, "the projection to be set up")

	var receipt outbox.Receipt
	for i := range 20 {
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) (err error) {
			receipt, err = outbox.Publish(t.Context(), tx, outbox.Event{AggregateID: strconv.Itoa(i), Payload: placed(i)})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		text, err := receipt.Token(t.Context(), pool)
		if err != nil {
			t.Fatal(err)
		}
		var r waitResult
		l.result(&r, "wait", text, "--projection", "copy", "--timeout", "1m")
		there := pgtest.Value[bool](t, db, "select exists (select from copy.seen where id = $1)", receipt.IDs[0])
		if !there || r.Projection != "copy" || r.WaitedSeconds <= 0 {
			t.Fatalf("event %d: %v, %+v", i, there, r)
		}
		if said := l.must("wait", text, "--projection", "copy"); !strings.HasPrefix(said, "projection copy has applied it; waited ") {
			t.Errorf("wait: %s", said)
		}
	}
	fails(1, "EVENT_NOT_APPLIED_YET event 00000000-", absent, "--projection", "copy", "--timeout", "50ms")
	fails(1, "TOKEN_EXPIRED", of(uuid.UUID{6: 0x70, 8: 0x80}), "--projection", "copy")
	stop(nil)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	<-exited
}

// placed is the payload of event type Placed in the tests' catalog.
type placed int

var placedType = schemas.MustEventType(`{"type": "record", "name": "Placed", "aggregate": "order", "fields": [{"name": "n", "type": "int"}]}`)

func (placed) EventType() *schemas.EventType           { return placedType }
func (p placed) AppendAvro(dst []byte) ([]byte, error) { return append(dst, byte(p<<1)), nil }

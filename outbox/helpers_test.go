package outbox_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// placed is what the code generator would write for OrderPlaced.
type placed struct {
	data []byte
	typ  *schemas.EventType
	err  error
}

var orderPlaced = schemas.MustEventType(`{"type":"record","name":"OrderPlaced","aggregate":"order","fields":[{"name":"data","type":"bytes"}]}`)

func (p placed) EventType() *schemas.EventType {
	if p.typ != nil {
		return p.typ
	}
	return orderPlaced
}

func (p placed) AppendAvro(dst []byte) ([]byte, error) { return append(dst, p.data...), p.err }

func event(aggregateID string) outbox.Event {
	return outbox.Event{AggregateID: aggregateID, Payload: placed{data: []byte("\x02x")}}
}

// box is a database with an outbox and one login per role.
type box struct {
	*pgtest.DB
	roles  outbox.Roles
	writer string // URL of a service's role, a member of the writer
	daemon string // URL of the daemon
}

func testRoles(db *pgtest.DB) outbox.Roles {
	return outbox.Roles{Owner: db.Role("owner"), Writer: db.Role("writer"), Daemon: db.Role("daemon")}
}

func newBox(t testing.TB, types ...*schemas.EventType) *box {
	t.Helper()
	db := pgtest.New(t)
	b := &box{DB: db, roles: testRoles(db)}
	if _, err := outbox.Init(t.Context(), db.Conn(t), outbox.InitOptions{Roles: b.roles, EventTypes: types}); err != nil {
		t.Fatalf("init: %v", err)
	}
	b.writer = db.CreateRole(t, "shop")
	db.Exec(t, "grant "+b.roles.Writer+" to "+db.Role("shop"))
	db.Exec(t, "alter role "+b.roles.Daemon+" password 'd'")
	b.daemon = db.URLAs(b.roles.Daemon, "d")
	return b
}

// state returns the SQLSTATE of err, or "" for nil.
func state(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		t.Fatalf("no error of the database: %v", err)
	}
	return pg.Code
}

func run(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// publish commits one event for each aggregate id.
func publish(t testing.TB, conn *pgx.Conn, aggregateIDs ...string) outbox.Receipt {
	t.Helper()
	var events []outbox.Event
	for _, id := range aggregateIDs {
		events = append(events, event(id))
	}
	var receipt outbox.Receipt
	err := pgx.BeginFunc(context.Background(), conn, func(tx pgx.Tx) (err error) {
		receipt, err = outbox.Publish(context.Background(), tx, events...)
		return err
	})
	if err != nil {
		t.Fatalf("publish: %v", err)
	}
	return receipt
}

func newID(t testing.TB) uuid.UUID {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

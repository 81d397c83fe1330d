package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/token"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// stored is a row of the outbox as the test reads it.
type stored struct {
	Seq                                   int64
	ID                                    uuid.UUID
	AggregateType, AggregateID, EventType string
	Encoding                              int16
	Fingerprint, Payload                  []byte
	Headers                               map[string]string
	OccurredAt                            time.Time
}

func readOutbox(t testing.TB, db *pgtest.DB) []stored {
	t.Helper()
	rows, err := db.Conn(t).Query(t.Context(), `select seq, id::text::uuid, aggregate_type, aggregate_id, event_type, encoding, fingerprint, payload, headers, occurred_at from runnel.outbox order by seq`)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[stored])
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestPublish(t *testing.T) {
	t.Parallel()
	b := newBox(t, orderPlaced)
	ctx := outbox.WithTraceparent(outbox.WithCorrelation(t.Context(), "process-1", "cause-1"), "00-trace-01")
	given := outbox.Event{
		AggregateID: "42", Payload: placed{data: []byte{2, 0}}, ID: newID(t),
		OccurredAt: time.Date(2020, 2, 29, 12, 0, 0, 123456000, time.UTC),
		Headers:    map[string]string{"tenant": "ü<&>\"", "correlationid": "own"},
	}
	events := []outbox.Event{given, event("b"), event("c")}

	db, err := sql.Open("pgx", b.writer)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	ways := map[string]func() (outbox.Receipt, error){
		"pgx": func() (receipt outbox.Receipt, err error) {
			err = pgx.BeginFunc(ctx, pgtest.Conn(t, b.writer), func(tx pgx.Tx) error {
				receipt, err = outbox.Publish(ctx, tx, events...)
				return err
			})
			return receipt, err
		},
		"pgx simple protocol": func() (receipt outbox.Receipt, err error) {
			conn := pgtest.Conn(t, b.writer+"&default_query_exec_mode=simple_protocol")
			err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
				receipt, err = outbox.Publish(ctx, tx, events...)
				return err
			})
			return receipt, err
		},
		"database/sql": func() (receipt outbox.Receipt, err error) {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return receipt, err
			}
			if receipt, err = outbox.PublishSQL(ctx, tx, events...); err != nil {
				return receipt, errors.Join(err, tx.Rollback())
			}
			return receipt, tx.Commit()
		},
	}
	seen := 0
	for name, way := range ways {
		started := time.Now().Add(-time.Millisecond)
		receipt, err := way()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		rows := readOutbox(t, b.DB)[seen:]
		seen += len(rows)
		if len(rows) != 3 || len(receipt.IDs) != 3 {
			t.Fatalf("%s: %d rows, %d ids", name, len(rows), len(receipt.IDs))
		}
		for i, r := range rows {
			if r.ID != receipt.IDs[i] || r.AggregateID != events[i].AggregateID || r.Encoding != 1 || r.EventType != "OrderPlaced" ||
				r.AggregateType != "order" || string(r.Fingerprint) != string(orderPlaced.Fingerprint[:]) {
				t.Errorf("%s: row %d: %+v", name, i, r)
			}
		}
		first, second := rows[0], rows[1]
		if first.ID != given.ID || !first.OccurredAt.Equal(given.OccurredAt) || string(first.Payload) != "\x02\x00" ||
			!maps.Equal(first.Headers, map[string]string{"tenant": "ü<&>\"", "correlationid": "own", "causationid": "cause-1", "traceparent": "00-trace-01"}) {
			t.Errorf("%s: first row: %+v", name, first)
		}
		if second.ID.Version() != 7 || second.OccurredAt.Before(started) || second.OccurredAt.After(time.Now().Add(time.Second)) ||
			second.Headers["correlationid"] != "process-1" {
			t.Errorf("%s: second row: %+v", name, second)
		}
	}
}

func TestPublishSQLInChunks(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	db, err := sql.Open("pgx", b.writer)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	events := make([]outbox.Event, 2500)
	for i := range events {
		events[i] = event(strconv.Itoa(i))
	}
	if _, err := outbox.PublishSQL(t.Context(), tx, events...); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	rows := readOutbox(t, b.DB)
	if len(rows) != len(events) {
		t.Fatalf("%d rows", len(rows))
	}
	for i, r := range rows {
		if r.AggregateID != strconv.Itoa(i) {
			t.Fatalf("row %d is of %s", i, r.AggregateID)
		}
	}
}

func TestRolledBackLeavesNothing(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	conn := pgtest.Conn(t, b.writer)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := outbox.Publish(t.Context(), tx, event("1"), event("2")); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rows := readOutbox(t, b.DB); len(rows) > 0 {
		t.Errorf("rolled back, yet there: %+v", rows)
	}
}

// Nothing of these reaches the database: tx is nil.
func TestPublishValidates(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*outbox.Event)
		want   *fault.Code
	}{
		"no aggregate id":     {func(e *outbox.Event) { e.AggregateID = "" }, outbox.ErrInvalid},
		"long aggregate id":   {func(e *outbox.Event) { e.AggregateID = strings.Repeat("x", 1025) }, outbox.ErrInvalid},
		"NUL in aggregate id": {func(e *outbox.Event) { e.AggregateID = "a\x00b" }, outbox.ErrInvalid},
		"bad UTF-8":           {func(e *outbox.Event) { e.AggregateID = "\xff" }, outbox.ErrInvalid},
		"no payload":          {func(e *outbox.Event) { e.Payload = nil }, outbox.ErrInvalid},
		"no event type":       {func(e *outbox.Event) { e.Payload = typeless{} }, outbox.ErrInvalid},
		"bad event type": {func(e *outbox.Event) {
			e.Payload = placed{typ: &schemas.EventType{Name: "a b", AggregateType: "order"}}
		}, outbox.ErrInvalid},
		"bad aggregate type":    {func(e *outbox.Event) { e.Payload = placed{typ: &schemas.EventType{Name: "A", AggregateType: "or/der"}} }, outbox.ErrInvalid},
		"payload refuses":       {func(e *outbox.Event) { e.Payload = placed{err: errors.New("enum")} }, outbox.ErrInvalid},
		"nameless header":       {func(e *outbox.Event) { e.Headers = map[string]string{"": "x"} }, outbox.ErrInvalid},
		"reserved header":       {func(e *outbox.Event) { e.Headers = map[string]string{"position": "x"} }, outbox.ErrInvalid},
		"NUL in header":         {func(e *outbox.Event) { e.Headers = map[string]string{"a": "x\x00"} }, outbox.ErrInvalid},
		"bad UTF-8 in header":   {func(e *outbox.Event) { e.Headers = map[string]string{"a": "\xff"} }, outbox.ErrInvalid},
		"before 1970":           {func(e *outbox.Event) { e.OccurredAt = time.Unix(-1, 0) }, outbox.ErrInvalid},
		"after 9999":            {func(e *outbox.Event) { e.OccurredAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, outbox.ErrInvalid},
		"too large":             {func(e *outbox.Event) { e.Payload = placed{data: make([]byte, outbox.DefaultMaxBytes)} }, outbox.ErrTooLarge},
		"too large with header": {func(e *outbox.Event) { e.Headers = map[string]string{"a": strings.Repeat("x", outbox.DefaultMaxBytes)} }, outbox.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			bad := event("1")
			tc.change(&bad)
			receipt, err := outbox.Publish(t.Context(), nil, event("0"), bad)
			if !errors.Is(err, tc.want) || len(receipt.IDs) != 0 {
				t.Fatalf("error %v, want %s", err, tc.want.ID)
			}
			if f := fault.Find(err); f.Where != "events[1]" || f.WhatToDo() == "" {
				t.Errorf("fault %+v", f)
			}
			if _, err := outbox.PublishSQL(t.Context(), nil, bad); !errors.Is(err, tc.want) {
				t.Errorf("PublishSQL: %v", err)
			}
		})
	}
	many := make([]outbox.Event, 60)
	for i := range many {
		many[i] = outbox.Event{AggregateID: "1", Payload: placed{data: make([]byte, 5_000_000)}}
	}
	if _, err := outbox.Publish(t.Context(), nil, many...); !errors.Is(err, outbox.ErrTooLarge) {
		t.Errorf("300 MB in one call: %v", err)
	}
	small := outbox.Publisher{MaxBytes: 2}
	if _, err := small.Publish(t.Context(), nil, event("1")); !errors.Is(err, outbox.ErrTooLarge) {
		t.Errorf("MaxBytes 2: %v", err)
	}
	if _, err := outbox.Publish(t.Context(), nil); err != nil {
		t.Errorf("no events: %v", err)
	}
}

type typeless struct{}

func (typeless) EventType() *schemas.EventType         { return nil }
func (typeless) AppendAvro(dst []byte) ([]byte, error) { return dst, nil }

func TestSchemaNotApplied(t *testing.T) {
	t.Parallel()
	b := newBox(t, orderPlaced)
	conn := pgtest.Conn(t, b.writer)
	other := schemas.MustEventType(`{"type":"record","name":"OrderLost","aggregate":"order","fields":[]}`)
	newer := schemas.MustEventType(`{"type":"record","name":"OrderPlaced","aggregate":"order","fields":[{"name":"more","type":"int","default":0}]}`)
	moved := *orderPlaced
	moved.AggregateType = "basket"
	for _, typ := range []*schemas.EventType{other, newer, &moved} {
		err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
			_, err := outbox.Publish(t.Context(), tx, event("1"), outbox.Event{AggregateID: "2", Payload: placed{typ: typ}})
			return err
		})
		if !errors.Is(err, outbox.ErrSchemaNotApplied) {
			t.Errorf("%s of %s: %v", typ.Name, typ.AggregateType, err)
		}
	}
	if rows := readOutbox(t, b.DB); len(rows) > 0 {
		t.Errorf("%d rows of refused calls", len(rows))
	}
	added, err := outbox.RegisterEventTypes(t.Context(), pgtest.Conn(t, b.daemon), []*schemas.EventType{orderPlaced, newer})
	if err != nil || added != 1 {
		t.Errorf("register: %d added, %v", added, err)
	}
	if _, err := outbox.RegisterEventTypes(t.Context(), b.Conn(t), []*schemas.EventType{&moved}); !errors.Is(err, outbox.ErrInvalid) {
		t.Errorf("one schema under two aggregate types: %v", err)
	}
	daemon := pgtest.Conn(t, b.daemon)
	if err := outbox.WithdrawEventTypes(t.Context(), daemon, "OrderPlaced", "Unknown"); !errors.Is(err, outbox.ErrInvalid) {
		t.Errorf("withdrawing all: %v", err)
	}
	if _, err := outbox.RegisterEventTypes(t.Context(), daemon, []*schemas.EventType{other}); err != nil {
		t.Fatal(err)
	}
	if err := outbox.WithdrawEventTypes(t.Context(), daemon, "OrderPlaced", "Unknown"); err != nil {
		t.Errorf("withdraw: %v", err)
	}
	want := []outbox.RegisteredType{{Name: "OrderLost", AggregateType: "order", Fingerprint: other.Fingerprint}}
	if types, err := outbox.EventTypes(t.Context(), pgtest.Conn(t, b.writer)); err != nil || !slices.Equal(types, want) {
		t.Errorf("left: %v, %v", types, err)
	}
}

func TestPublishElsewhere(t *testing.T) {
	t.Parallel()
	empty := pgtest.New(t)
	if types, err := outbox.EventTypes(t.Context(), empty.Conn(t)); err != nil || types != nil {
		t.Errorf("types without an outbox: %v, %v", types, err)
	}
	err := pgx.BeginFunc(t.Context(), empty.Conn(t), func(tx pgx.Tx) error {
		_, err := outbox.Publish(t.Context(), tx, event("1"))
		return err
	})
	if !errors.Is(err, outbox.ErrNotMigrated) {
		t.Errorf("without an outbox: %v", err)
	}
	b := newBox(t)
	stranger := pgtest.Conn(t, b.CreateRole(t, "stranger"))
	err = pgx.BeginFunc(t.Context(), stranger, func(tx pgx.Tx) error {
		_, err := outbox.Publish(t.Context(), tx, event("1"))
		return err
	})
	if !errors.Is(err, outbox.ErrForbidden) {
		t.Errorf("as a stranger: %v", err)
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	conn := pgtest.Conn(t, b.writer)
	receipt := publish(t, conn, "a", "b", "a")
	text, err := receipt.Token(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	got, err := token.Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	committed := pgtest.Value[int64](t, b.DB, "select (pg_current_wal_insert_lsn() - '0/0')::bigint")
	if got.Epoch != 0 || got.LSN == 0 || got.LSN > uint64(committed) {
		t.Errorf("token %+v", got)
	}
	if len(got.Events) != 2 || got.Events[0].ID != [16]byte(receipt.IDs[1]) || got.Events[1].ID != [16]byte(receipt.IDs[2]) {
		t.Errorf("events %+v: want b and the last a of %v", got.Events, receipt.IDs)
	}
	b.Exec(t, `insert into runnel.epoch (epoch, system_id, timeline, begin_lsn)
		values (3, 'another', 1, '0/0'), (2, (select system_identifier::text from pg_control_system()), (select timeline_id from pg_control_checkpoint()), '0/0')`)
	db, err := sql.Open("pgx", b.writer)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if text, err = receipt.TokenSQL(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if got, err = token.Decode(text); err != nil || got.Epoch != 2 {
		t.Errorf("token %+v, %v: want epoch 2, of this very history", got, err)
	}
	var ids []string
	for i := range 65 {
		ids = append(ids, strconv.Itoa(i))
	}
	if _, err := publish(t, conn, ids...).Token(t.Context(), conn); !errors.Is(err, outbox.ErrTokenTooLarge) {
		t.Errorf("65 aggregates: %v", err)
	}
	if _, err := receipt.Token(t.Context(), pgtest.New(t).Conn(t)); !errors.Is(err, outbox.ErrNotMigrated) {
		t.Errorf("token from another database: %v", err)
	}
}

func TestContextHeaders(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	conn := pgtest.Conn(t, b.writer)
	ctx := outbox.WithTraceparent(t.Context(), "t")
	child := outbox.WithTraceparent(outbox.WithCorrelation(ctx, "c", ""), "")
	for i, tc := range []struct {
		ctx  context.Context
		want map[string]string
	}{
		{t.Context(), map[string]string{}},
		{ctx, map[string]string{"traceparent": "t"}},
		{child, map[string]string{"correlationid": "c"}},
	} {
		err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
			_, err := outbox.Publish(tc.ctx, tx, event("1"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := readOutbox(t, b.DB)[i].Headers; !maps.Equal(got, tc.want) {
			t.Errorf("headers %v, want %v", got, tc.want)
		}
	}
}

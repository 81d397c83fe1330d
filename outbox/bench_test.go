package outbox_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
)

// BenchmarkPublish: events of 250 B, one transaction per operation, event types
// registered. It measures Publish alone: BEGIN and COMMIT are not timed.
func BenchmarkPublish(b *testing.B) {
	box := newBox(b, orderPlaced)
	conn := pgtest.Conn(b, box.writer)
	db, err := sql.Open("pgx", box.writer)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, n := range []int{1, 10, 1000} {
		events := make([]outbox.Event, n)
		for i := range events {
			events[i] = outbox.Event{AggregateID: fmt.Sprint(i), Payload: placed{data: make([]byte, 250)}}
		}
		b.Run(fmt.Sprintf("pgx/%d", n), func(b *testing.B) {
			tx, err := conn.Begin(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := outbox.Publish(b.Context(), tx, events...); err != nil {
					b.Fatal(err)
				}
			}
			perSecond(b, n)
			if err := tx.Commit(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
		b.Run(fmt.Sprintf("pgx-commit/%d", n), func(b *testing.B) {
			for b.Loop() {
				err := pgx.BeginFunc(b.Context(), conn, func(tx pgx.Tx) error {
					_, err := outbox.Publish(b.Context(), tx, events...)
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			perSecond(b, n)
		})
		b.Run(fmt.Sprintf("sql/%d", n), func(b *testing.B) {
			tx, err := db.BeginTx(b.Context(), nil)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := outbox.PublishSQL(b.Context(), tx, events...); err != nil {
					b.Fatal(err)
				}
			}
			perSecond(b, n)
			if err := tx.Commit(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkPublishBeside compares Publish with INSERTs that somebody writes by hand, who has
// encoded the events already: one statement of as many rows, prepared, into the outbox, and
// into a table of the same columns that is nothing but a table. All three take turns; the
// time is that of the statement, in a transaction that is open. "x" is Publish in units of
// the INSERT into the outbox, "x-plain" in units of that into the plain table.
func BenchmarkPublishBeside(b *testing.B) {
	box := newBox(b, orderPlaced)
	conn := pgtest.Conn(b, box.writer)
	box.Exec(b, "create table plain (id uuid primary key default gen_random_uuid(), aggregate_type text not null, aggregate_id text not null, event_type text not null, "+
		"encoding smallint not null, fingerprint bytea, payload bytea not null, headers jsonb not null, occurred_at timestamptz not null, inserted_at timestamptz not null default now()); "+
		"grant insert on plain to public")
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			events := make([]outbox.Event, n)
			for i := range events {
				events[i] = outbox.Event{AggregateID: fmt.Sprint(i), Payload: placed{data: make([]byte, 250)}}
			}
			payload, err := placed{data: make([]byte, 250)}.AppendAvro(nil)
			if err != nil {
				b.Fatal(err)
			}
			fingerprint := orderPlaced.Fingerprint
			now := time.Now()
			byHand := func(tx pgx.Tx, query string) error {
				args := make([]any, 0, 8*n)
				for i := range n {
					id, err := uuid.NewV7()
					if err != nil {
						return err
					}
					args = append(args, id, orderPlaced.AggregateType, fmt.Sprint(i), orderPlaced.Name, fingerprint[:], payload, "{}", now)
				}
				_, err := tx.Exec(b.Context(), query, args...)
				return err
			}
			ways := []func(tx pgx.Tx) error{
				func(tx pgx.Tx) error { _, err := outbox.Publish(b.Context(), tx, events...); return err },
				func(tx pgx.Tx) error { return byHand(tx, valuesInto("runnel.outbox", n)) },
				func(tx pgx.Tx) error { return byHand(tx, valuesInto("plain", n)) },
			}
			took := make([]time.Duration, len(ways))
			for b.Loop() {
				for i, way := range ways {
					err := pgx.BeginFunc(b.Context(), conn, func(tx pgx.Tx) error {
						began := time.Now()
						defer func() { took[i] += time.Since(began) }()
						return way(tx)
					})
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(took[0].Nanoseconds())/float64(b.N*n), "ns/event")
			b.ReportMetric(float64(took[0])/float64(took[1]), "x")
			b.ReportMetric(float64(took[0])/float64(took[2]), "x-plain")
		})
	}
}

func valuesInto(table string, n int) string {
	var s strings.Builder
	s.WriteString("insert into " + table + " (id, aggregate_type, aggregate_id, event_type, encoding, fingerprint, payload, headers, occurred_at) values ")
	for i := range n {
		if i > 0 {
			s.WriteString(", ")
		}
		k := 8 * i
		fmt.Fprintf(&s, "($%d, $%d, $%d, $%d, 1, $%d, $%d, $%d, $%d)", k+1, k+2, k+3, k+4, k+5, k+6, k+7, k+8)
	}
	return s.String()
}

func perSecond(b *testing.B, events int) {
	b.ReportMetric(float64(b.N)*float64(events)/b.Elapsed().Seconds(), "events/s")
}

package outbox_test

import (
	"database/sql"
	"fmt"
	"testing"

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

func perSecond(b *testing.B, events int) {
	b.ReportMetric(float64(b.N)*float64(events)/b.Elapsed().Seconds(), "events/s")
}

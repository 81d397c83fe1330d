package torture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/schemas"
)

// truthTables are the workload's own. A truth row is written in the transaction
// of its event, and says by being there that it committed.
const truthTables = `
create schema truth;
create table truth.event (id uuid not null, tx text not null, type text not null, key text not null, n bigint not null, hash text not null);
create table truth.state (aggregate text primary key, n bigint not null);`

// executor is a transaction, or a connection within one.
type executor interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error)
}

// drafts draws n events. Locked ones share few aggregates, so that writers meet;
// the others are of aggregates that nobody locks.
func (w *writer) drafts(n int, locked bool) []*draft {
	catalog := events()
	all := make([]*draft, n)
	for i := range all {
		d := &draft{id: uuid.Must(uuid.NewV7()).String(), event: catalog[w.rand.IntN(len(catalog))],
			locked: locked, writer: w.name, note: w.note()}
		d.key = fmt.Sprintf("f%d", w.rand.IntN(8))
		if locked {
			d.key = fmt.Sprintf("a%d", w.rand.IntN(24))
		}
		all[i] = d
	}
	return all
}

// note is some text of 0 to 200 characters, not only ASCII.
func (w *writer) note() string {
	const letters = "abcdefghijklmnop \"\\/äß→€𝄞"
	runes := []rune(letters)
	var b strings.Builder
	for range w.rand.IntN(200) {
		b.WriteRune(runes[w.rand.IntN(len(runes))])
	}
	return b.String()
}

// number locks the aggregates, in one order for all writers, and counts.
func number(ctx context.Context, tx executor, all []*draft) error {
	of := make(map[string][]*draft)
	for _, d := range all {
		if d.locked {
			name := topicOf()[d.event.Name] + "/" + d.key
			of[name] = append(of[name], d)
		}
	}
	names := make([]string, 0, len(of))
	for name := range of {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		var last int64
		err := tx.QueryRow(ctx, `insert into truth.state as s values ($1, $2)
			on conflict (aggregate) do update set n = s.n + excluded.n returning n`, name, len(of[name])).Scan(&last)
		if err != nil {
			return err
		}
		for i, d := range of[name] {
			d.n = last - int64(len(of[name])-1-i)
		}
	}
	return nil
}

// testify writes the truth rows.
func testify(ctx context.Context, tx executor, name string, all []*draft) error {
	c := columnsOf(all)
	n, hashes := make([]int64, len(all)), make([]string, len(all))
	for i, d := range all {
		n[i], hashes[i] = d.n, hashOf(d.avro())
	}
	_, err := tx.Exec(ctx, `insert into truth.event select id, $2, type, key, n, hash
		from unnest($1::text[]::uuid[], $3::text[], $4::text[], $5::bigint[], $6::text[]) as t(id, type, key, n, hash)`,
		c.ids, name, c.types, c.keys, n, hashes)
	return err
}

// columns are drafts turned on their side.
type columns struct {
	ids, aggregates, keys, types []string
	prints, payloads             [][]byte
}

func columnsOf(all []*draft) (c columns) {
	for _, d := range all {
		print := d.event.Fingerprint
		c.ids, c.aggregates, c.keys, c.types = append(c.ids, d.id), append(c.aggregates, d.event.AggregateType), append(c.keys, d.key), append(c.types, d.event.Name)
		c.prints, c.payloads = append(c.prints, print[:]), append(c.payloads, d.avro())
	}
	return c
}

// insert writes the drafts as rows of one statement.
func insert(ctx context.Context, tx executor, name string, all []*draft) error {
	if err := number(ctx, tx, all); err != nil {
		return err
	}
	c := columnsOf(all)
	_, err := tx.Exec(ctx, `insert into runnel.outbox (id, aggregate_type, aggregate_id, event_type, encoding, fingerprint, payload)
		select id, aggregate, key, type, 1, print, payload
		from unnest($1::text[]::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bytea[]) as t(id, aggregate, key, type, print, payload)`,
		c.ids, c.aggregates, c.keys, c.types, c.prints, c.payloads)
	if err != nil {
		return err
	}
	return testify(ctx, tx, name, all)
}

// transact runs do in a transaction and commits it.
func (w *writer) transact(ctx context.Context, do func(pgx.Tx) error) error {
	tx, err := w.db.Begin(ctx)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		return errors.Join(err, tx.Rollback(ctx))
	}
	return tx.Commit(ctx)
}

// rows writes a few events, a statement each.
func (w *writer) rows(ctx context.Context, name string) error {
	all := w.drafts(1+w.rand.IntN(5), true)
	slices.SortFunc(all, func(a, b *draft) int { // as number locks
		return strings.Compare(topicOf()[a.event.Name]+"/"+a.key, topicOf()[b.event.Name]+"/"+b.key)
	})
	return w.transact(ctx, func(tx pgx.Tx) error {
		for _, d := range all {
			if err := insert(ctx, tx, name, []*draft{d}); err != nil {
				return err
			}
		}
		return nil
	})
}

// publish goes by the function for other languages, with JSON.
func (w *writer) publish(ctx context.Context, name string) error {
	all := w.drafts(1+w.rand.IntN(3), true)
	return w.transact(ctx, func(tx pgx.Tx) error {
		if err := number(ctx, tx, all); err != nil {
			return err
		}
		for _, d := range all {
			payload, err := d.json()
			if err != nil {
				return err
			}
			if err := tx.QueryRow(ctx, `select runnel.publish($1, $2, $3, $4)::text`, d.event.AggregateType, d.key, d.event.Name, payload).Scan(&d.id); err != nil {
				return err
			}
		}
		return testify(ctx, tx, name, all)
	})
}

// multi writes many rows with one statement.
func (w *writer) multi(ctx context.Context, name string) error {
	all := w.drafts(5+w.rand.IntN(40), w.rand.IntN(2) == 0)
	return w.transact(ctx, func(tx pgx.Tx) error { return insert(ctx, tx, name, all) })
}

// huge is a transaction that fills several batches.
func (w *writer) huge(ctx context.Context, name string) error {
	all := w.drafts(300+w.rand.IntN(1200), false)
	return w.transact(ctx, func(tx pgx.Tx) error { return insert(ctx, tx, name, all) })
}

// copy writes by COPY.
func (w *writer) copy(ctx context.Context, name string) error {
	all := w.drafts(10+w.rand.IntN(60), w.rand.IntN(2) == 0)
	return w.transact(ctx, func(tx pgx.Tx) error {
		if err := number(ctx, tx, all); err != nil {
			return err
		}
		source := pgx.CopyFromSlice(len(all), func(i int) ([]any, error) {
			d := all[i]
			print := d.event.Fingerprint
			return []any{uuid.MustParse(d.id), d.event.AggregateType, d.key, d.event.Name, int16(1), print[:], d.avro()}, nil
		})
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"runnel", "outbox"},
			[]string{"id", "aggregate_type", "aggregate_id", "event_type", "encoding", "fingerprint", "payload"}, source)
		if err != nil {
			return err
		}
		return testify(ctx, tx, name, all)
	})
}

// rollback writes and takes it all back.
func (w *writer) rollback(ctx context.Context, name string) error {
	tx, err := w.db.Begin(ctx)
	if err != nil {
		return err
	}
	return errors.Join(insert(ctx, tx, name, w.drafts(1+w.rand.IntN(30), true)), tx.Rollback(ctx))
}

// savepoint takes back a part, and writes on. Only the first part locks: locks
// taken out of order would wait for each other.
func (w *writer) savepoint(ctx context.Context, name string) error {
	return w.transact(ctx, func(tx pgx.Tx) error {
		if err := insert(ctx, tx, name, w.drafts(1+w.rand.IntN(5), true)); err != nil {
			return err
		}
		for range 1 + w.rand.IntN(3) {
			part, err := tx.Begin(ctx)
			if err != nil {
				return err
			}
			if err := insert(ctx, part, name, w.drafts(1+w.rand.IntN(8), false)); err != nil {
				return err
			}
			if w.rand.IntN(2) == 0 {
				err = part.Rollback(ctx)
			} else {
				err = part.Commit(ctx)
			}
			if err != nil {
				return err
			}
		}
		return insert(ctx, tx, name, w.drafts(1+w.rand.IntN(3), false))
	})
}

// long stays open while others commit: its rows lie far before its commit.
func (w *writer) long(ctx context.Context, name string) error {
	return w.transact(ctx, func(tx pgx.Tx) error {
		if err := insert(ctx, tx, name, w.drafts(1+w.rand.IntN(20), false)); err != nil {
			return err
		}
		until := w.done.Load() + 5 + w.rand.Int64N(40)
		_ = await(ctx, 5*time.Second, func(context.Context) bool {
			select {
			case <-w.stopping:
				return true
			default:
				return w.done.Load() >= until
			}
		}) // the writers may all be waiting: long enough, then
		return insert(ctx, tx, name, w.drafts(1+w.rand.IntN(3), false))
	})
}

// prepare ends the first phase; the second comes after others have committed.
func (w *writer) prepare(ctx context.Context, name string) error {
	if len(w.prepared) >= 4 {
		return w.rows(ctx, name)
	}
	if _, err := w.db.Exec(ctx, "begin"); err != nil {
		return err
	}
	if err := insert(ctx, w.db, name, w.drafts(1+w.rand.IntN(20), false)); err != nil {
		return err // the connection is given up, and the transaction with it
	}
	if _, err := w.db.Exec(ctx, "prepare transaction '"+name+"'"); err != nil {
		return err
	}
	w.prepared = append(w.prepared, prepared{name, w.done.Load() + 5 + w.rand.Int64N(60)})
	return nil
}

// eventNamed returns an event type of the workload.
func eventNamed(name string) *schemas.EventType {
	for _, e := range events() {
		if e.Name == name {
			return e
		}
	}
	return nil
}

package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pgfault"
	"github.com/runnel-cdc/runnel/schemas"
)

// RowsQuerier runs a query that returns rows: a *pgx.Conn, a pgx.Tx, a
// *pgxpool.Pool.
type RowsQuerier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// WatchedTable is a table whose rows are published (`select runnel.watch(...)`).
type WatchedTable struct {
	Name          string // qualified and quoted, as SQL takes it
	AggregateType string
	Key           []string // fields that make the aggregate id
	Before        bool     // events hold the row as it was
	Exclude       []string // columns that are left out
	FirstState    *FirstState
	Problems      []WatchProblem
}

// FirstState is how far `call runnel.publish_rows(...)` has come.
type FirstState struct {
	Rows     int64     // published, those of an interrupted chunk twice
	Started  time.Time //
	Finished time.Time // zero: it was interrupted, or runs
}

// WatchProblem is something that keeps a watched table from being published as
// it is, most often an ALTER TABLE since.
type WatchProblem struct {
	Fatal   bool   // changes are refused, or missing from the events; else they go on
	Message string // what, with the change of the schema where one is needed
	Remedy  string // SQL or commands
}

// Err returns the problem as ErrTableAltered.
func (p WatchProblem) Err() error { return ErrTableAltered.New("%s", p.Message).Fix("%s", p.Remedy) }

// WatchedTables returns the watched tables by name, each with what is wrong with
// it. Writers and the daemon may call it.
func WatchedTables(ctx context.Context, db RowsQuerier) ([]WatchedTable, error) {
	rows, err := db.Query(ctx, `select coalesce((select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
			where c.oid = w.relation), w.relation::text), w.aggregate_type, w.key, w.before, w.exclude,
		f.relation is not null, coalesce(f.rows, 0), coalesce(f.started_at, 'epoch'), coalesce(f.finished_at, 'epoch'),
		array(select p.fatal from runnel.watch_problems(w.relation) with ordinality p(fatal, problem, remedy, n) order by n),
		array(select p.problem from runnel.watch_problems(w.relation) with ordinality p(fatal, problem, remedy, n) order by n),
		array(select p.remedy from runnel.watch_problems(w.relation) with ordinality p(fatal, problem, remedy, n) order by n)
		from runnel.watched w left join runnel.first_state f on f.relation = w.relation order by 1`)
	if err != nil {
		return nil, fmt.Errorf("read the watched tables: %w", databaseError(err))
	}
	tables, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t WatchedTable, err error) {
		var begun bool
		var first FirstState
		var fatal []bool
		var problems, remedies []string
		err = row.Scan(&t.Name, &t.AggregateType, &t.Key, &t.Before, &t.Exclude,
			&begun, &first.Rows, &first.Started, &first.Finished, &fatal, &problems, &remedies)
		if first.Finished.Unix() == 0 {
			first.Finished = time.Time{}
		}
		if begun {
			t.FirstState = &first
		}
		for i := range problems {
			t.Problems = append(t.Problems, WatchProblem{fatal[i], problems[i], remedies[i]})
		}
		return t, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the watched tables: %w", databaseError(err))
	}
	return tables, nil
}

// TableOptions are those of runnel.watch. For a table that is watched, what is
// left out is as watched.
type TableOptions struct {
	AggregateType string   // required unless the table is watched
	Key           []string // default: the primary key
	Before        *bool    // default: false
	Exclude       []string // default: none
}

// TableSchema is an Avro type of a table's events.
type TableSchema struct {
	Name        string
	Definition  string              // JSON of one .avsc file, which may name the others
	Fingerprint schemas.Fingerprint // of an event; zero for what events are made of
}

// TableSchemas returns the Avro types of a table's events as runnel.watch would
// publish them: the events, their parts after what they are made of. It changes
// nothing. Writers and the daemon may call it.
//
// Errors: ErrNotWatchable with the column and the reason, ErrWatchedOtherwise,
// ErrInvalid.
func TableSchemas(ctx context.Context, db RowsQuerier, table string, o TableOptions) ([]TableSchema, error) {
	fail := func(err error) ([]TableSchema, error) {
		return nil, fmt.Errorf("schemas of table %s: %w", table, databaseError(err))
	}
	rows, err := db.Query(ctx, "select to_regclass($1)::oid", table)
	if err != nil {
		return fail(err)
	}
	oid, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[*uint32])
	switch state := pgfault.State(err); {
	case state == "42601" || state == "42602" || err == nil && oid == nil: // not even a name
		return fail(ErrNotWatchable.New("there is no table %s", table))
	case err != nil:
		return fail(err)
	}
	rows, err = db.Query(ctx, `select s.name, s.definition, coalesce(s.fingerprint, '') from runnel.table_schemas($1::oid, $2, $3, $4, $5) s`,
		*oid, nullIfEmpty(o.AggregateType), nullIfNone(o.Key), o.Before, nullIfNone(o.Exclude))
	if err != nil {
		return fail(err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s TableSchema, err error) {
		var fingerprint []byte
		err = row.Scan(&s.Name, &s.Definition, &fingerprint)
		copy(s.Fingerprint[:], fingerprint)
		return s, err
	})
	if err != nil {
		return fail(err)
	}
	return all, nil
}

func nullIfEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func nullIfNone(s []string) []string {
	if len(s) == 0 {
		return nil
	}
	return s
}

// Explain returns the fault behind an error that Runnel's triggers and functions
// raised in a service's own statement, with err in its chain: ErrRowRefused when
// a watched table's row cannot be published, ErrTableAltered when the table was
// altered, ErrSchemaNotApplied and the like. Other errors, and nil, it returns as
// they are. Any driver's errors with a method SQLState will do.
func Explain(err error) error {
	switch pgfault.State(err) {
	case stateUnknownType, stateUnknownSchema, stateInvalid, stateUnfit, stateRefused, stateAltered, stateOtherwise:
		return databaseError(err)
	}
	return err
}

// hinted adds the database's own hint, which knows the table.
func hinted(e *fault.Error) *fault.Error {
	var pg *pgconn.PgError
	if errors.As(e.Err, &pg) && pg.Hint != "" {
		return e.Fix("%s", pg.Hint)
	}
	return e
}

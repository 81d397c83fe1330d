package consumers

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// bookkeeping is the Postgres schema of the projections' positions. It is not
// the outbox's schema: a database may hold both, with different owners.
const bookkeeping = "runnel_projections"

// setupLock is the advisory lock under which schemas are made.
const setupLock = 0x52756e6e656c5072

// The version is part of the keys, and the schema of the tables is recorded,
// so that two versions can stand side by side.
const positionsDDL = `
create table runnel_projections.projection (
	name       text        not null,
	version    integer     not null check (version > 0),
	schema     text        not null unique,
	created_at timestamptz not null default now(),
	primary key (name, version)
);
comment on table runnel_projections.projection is
	'Local copies kept by Runnel projections; schema holds the tables of one.';
create table runnel_projections.position (
	projection text        not null,
	version    integer     not null,
	topic      text        not null,
	partition  integer     not null,
	position   text collate "C" not null,
	ordinal    bigint      not null,
	message_id text        not null default '',
	updated_at timestamptz not null default now(),
	primary key (projection, version, topic, partition),
	foreign key (projection, version)
		references runnel_projections.projection (name, version) on delete cascade on update cascade
) with (fillfactor = 50);
comment on table runnel_projections.position is
	'Up to where a projection has applied a topic partition; moved in the transaction of the rows.';`

// A row holds a message as it was received. The first row of a key is retrying
// (next_try says when) or parked for a person; the others wait behind it.
const parkedDDL = `
alter table runnel_projections.position add column parked bigint not null default 0 check (parked >= 0);
comment on column runnel_projections.position.parked is 'Number of rows in table parked; changed with them.';
create table runnel_projections.parked (
	projection     text        not null,
	version        integer     not null,
	topic          text        not null,
	partition      integer     not null,
	ordinal        bigint      not null,
	position       text collate "C" not null,
	key            text        not null,
	event_id       uuid        not null,
	event_type     text        not null,
	occurred_at    timestamptz not null,
	published_at   timestamptz not null,
	headers        jsonb       not null,
	schema_version bigint      not null,
	payload        bytea       not null,
	state          text        not null check (state in ('retrying', 'parked', 'behind')),
	tries          integer     not null,
	error_code     text        not null,
	error          text        not null,
	parked_at      timestamptz not null,
	next_try       timestamptz,
	primary key (projection, version, topic, partition, ordinal),
	check ((state = 'retrying') = (next_try is not null)),
	foreign key (projection, version, topic, partition)
		references runnel_projections.position on delete cascade on update cascade
);
create index on runnel_projections.parked (projection, version, topic, partition, key, ordinal);
create index on runnel_projections.parked (projection, version, topic, partition, next_try) where state = 'retrying';
create index on runnel_projections.parked (event_id);
comment on table runnel_projections.parked is
	'Events that failed, and those of the same key behind them; written in the transaction that moves the position.';`

// bookkeepingSteps bring the schema from nothing, or from what an earlier release
// made, up to date. A step was done when its table is there.
var bookkeepingSteps = []struct{ table, ddl string }{
	{"runnel_projections.position", positionsDDL},
	{"runnel_projections.parked", parkedDDL},
}

// setup makes, once, what the projection needs in its database: the table of
// positions, its own schema, and in that the tables of Migrate.
func (p *Projection) setup(ctx context.Context) error {
	err := pgx.BeginFunc(ctx, p.db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", int64(setupLock)); err != nil {
			return err
		}
		if err := makeBookkeeping(ctx, tx); err != nil {
			return err
		}
		return p.makeTables(ctx, tx)
	})
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42501" && !errors.Is(err, ErrMigrate) {
		return ErrDatabaseRights.Wrap(err, "setting up projection %s", p.cfg.Name).
			Fix("As the database's owner: create schema if not exists %s authorization ROLE; "+
				"create schema if not exists %s authorization ROLE; or, where another role made the positions: "+
				"grant usage on schema %[1]s to ROLE; grant select, insert, update, delete on all tables in schema %[1]s to ROLE;",
				bookkeeping, p.schema())
	}
	return err
}

// makeBookkeeping creates the tables that are missing. It looks first, because
// CREATE SCHEMA IF NOT EXISTS asks for the right to create even when it need not.
func makeBookkeeping(ctx context.Context, tx pgx.Tx) error {
	for _, step := range bookkeepingSteps {
		var table, schema bool
		err := tx.QueryRow(ctx, "select to_regclass($1) is not null, to_regnamespace($2) is not null", step.table, bookkeeping).Scan(&table, &schema)
		if err != nil {
			return err
		}
		if table {
			continue
		}
		if !schema {
			if _, err := tx.Exec(ctx, "create schema "+bookkeeping); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, step.ddl); err != nil {
			return err
		}
	}
	return nil
}

// makeTables creates the projection's schema and tables, or checks that the
// database holds this version of them.
func (p *Projection) makeTables(ctx context.Context, tx pgx.Tx) error {
	rows, _ := tx.Query(ctx, "select version, schema from runnel_projections.projection where name = $1 order by version", p.cfg.Name)
	type made struct {
		Version int
		Schema  string
	}
	known, err := pgx.CollectRows(rows, pgx.RowToStructByPos[made])
	if err != nil {
		return err
	}
	var exists bool
	if err := tx.QueryRow(ctx, "select to_regnamespace(quote_ident($1)) is not null", p.schema()).Scan(&exists); err != nil {
		return err
	}
	if len(known) > 0 {
		switch held := known[len(known)-1]; {
		case held.Version != p.cfg.Version:
			return ErrVersion.New("the database holds version %d of projection %s, this is version %d", held.Version, p.cfg.Name, p.cfg.Version).
				Fix("Start version %d; or stop every instance, run: %s and start version %d, which begins at the start of the topics.",
					held.Version, p.forget(), max(held.Version, p.cfg.Version-1)+1)
		case !exists:
			return ErrTables.New("schema %s of projection %s does not exist", p.schema(), p.cfg.Name).
				Fix("Restore the schema; or stop every instance, run: %s and start version %d, which begins at the start of the topics.",
					p.forget(), p.cfg.Version+1)
		}
		return nil
	}
	if !exists {
		if _, err := tx.Exec(ctx, "create schema "+quote(p.schema())); err != nil {
			return err
		}
	}
	if err := p.enter(ctx, tx); err != nil {
		return err
	}
	if p.cfg.Migrate != nil {
		guard := &guardedTx{Tx: tx}
		if err := p.cfg.Migrate(ctx, guard); err != nil {
			if c := classify(ctx, err, tx.Conn().IsClosed()); c != failed {
				return err
			}
			return ErrMigrate.Wrap(err, "projection %s, version %d", p.cfg.Name, p.cfg.Version)
		}
		if err := guard.check(); err != nil {
			return ErrMigrate.Wrap(err, "projection %s, version %d", p.cfg.Name, p.cfg.Version)
		}
	}
	_, err = tx.Exec(ctx, "insert into runnel_projections.projection (name, version, schema) values ($1, $2, $3)",
		p.cfg.Name, p.cfg.Version, p.schema())
	return err
}

// schema returns the Postgres schema of the projection's tables.
func (p *Projection) schema() string { return p.cfg.Name }

// forget returns the SQL that removes the projection from its database.
func (p *Projection) forget() string {
	return fmt.Sprintf("drop schema if exists %s cascade; delete from runnel_projections.projection where name = '%s';",
		quote(p.schema()), p.cfg.Name)
}

// settingsSQL makes unqualified names lead to the projection's schema, and
// lets Postgres end a transaction that a frozen instance has left open.
const settingsSQL = "select set_config('search_path', $1, true), set_config('idle_in_transaction_session_timeout', $2, true)"

func (p *Projection) settings() (path, idle string) {
	return quote(p.schema()) + ", public", strconv.FormatInt(p.cfg.TransactionIdle.Milliseconds(), 10)
}

func (p *Projection) enter(ctx context.Context, tx pgx.Tx) error {
	path, idle := p.settings()
	_, err := tx.Exec(ctx, settingsSQL, path, idle)
	return err
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

package consumers

import (
	"context"
	"errors"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/pgfault"
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

// Of one projection, at most one version is live, one is being built beside it and
// one is old. A partition's row repeats the state, so that whoever locks it knows.
// complete is a position up to which a version that is being built has applied
// what the partition holds, also where it lacks messages.
const rebuildDDL = `
create table runnel_projections.rebuild (
	projection text        not null,
	version    integer     not null,
	started_at timestamptz not null default now(),
	swapped_at timestamptz,
	primary key (projection, version),
	foreign key (projection, version)
		references runnel_projections.projection (name, version) on delete cascade on update cascade
);
comment on table runnel_projections.rebuild is 'Versions that were, or are being, built beside a live copy.';
alter table runnel_projections.projection add column state text not null default 'live'
	check (state in ('live', 'building', 'old'));
create unique index on runnel_projections.projection (name, state);
alter table runnel_projections.position
	add column state text not null default 'live' check (state in ('live', 'building', 'old')),
	add column complete text collate "C" not null default '';
alter table runnel_projections.parked add column catching_up boolean not null default false;`

// bookkeepingSteps bring the schema from nothing, or from what an earlier release
// made, up to date. A step was done when its table is there.
var bookkeepingSteps = []struct{ table, ddl string }{
	{"runnel_projections.position", positionsDDL},
	{"runnel_projections.parked", parkedDDL},
	{"runnel_projections.rebuild", rebuildDDL},
	{"runnel_projections.passed", waitingDDL},
	{"runnel_projections.abandoned", abandonedDDL},
	{"runnel_projections.accepted", acceptedDDL},
	{"runnel_projections.unhandled", unhandledDDL},
	{"runnel_projections.lost", lostDDL},
}

// setup makes, once, what the projection needs in its database: the table of
// positions, its own schema, and in that the tables of Migrate.
func (p *Projection) setup(ctx context.Context, topics []string) error {
	err := pgx.BeginFunc(ctx, p.db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", int64(setupLock)); err != nil {
			return err
		}
		if err := makeBookkeeping(ctx, tx); err != nil {
			return err
		}
		if err := p.makeTables(ctx, tx); err != nil {
			return err
		}
		return p.describe(ctx, tx, topics)
	})
	return p.rightsFault(err)
}

// rightsFault says what a role has to be granted that was refused something.
func (p *Projection) rightsFault(err error) error {
	if pgfault.State(err) == stateNoRight && !errors.Is(err, ErrMigrate) {
		return ErrDatabaseRights.Wrap(err, "setting up projection %s", p.cfg.Name).
			Fix("As the database's owner: create schema if not exists %s authorization ROLE; "+
				"create schema if not exists %s authorization ROLE; or, where another role made the positions: "+
				"let that role start this release first, then grant usage on schema %[1]s to ROLE; grant select, insert, update, delete on all tables in schema %[1]s to ROLE;",
				bookkeeping, p.cfg.Name)
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

// settingsSQL makes unqualified names lead to the projection's schema, and
// lets Postgres end a transaction that a frozen instance has left open.
const settingsSQL = "select set_config('search_path', $1, true), set_config('idle_in_transaction_session_timeout', $2, true)"

func (p *Projection) settings(state copyState) (path, idle string) {
	return quote(p.schema(state)) + ", public", strconv.FormatInt(p.cfg.TransactionIdle.Milliseconds(), 10)
}

func (p *Projection) enter(ctx context.Context, tx pgx.Tx, state copyState) error {
	path, idle := p.settings(state)
	_, err := tx.Exec(ctx, settingsSQL, path, idle)
	return err
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

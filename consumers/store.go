package consumers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
)

// bookkeeping is the Postgres schema of the projections' positions. It is not
// the outbox's schema: a database may hold both, with different owners.
const bookkeeping = "runnel_projections"

// setupLock is the advisory lock under which schemas are made.
const setupLock = 0x52756e6e656c5072

// The version is part of the keys, and the schema of the tables is recorded,
// so that two versions can stand side by side.
const bookkeepingDDL = `
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

// setup makes, once, what the projection needs in its database: the table of
// positions, its own schema, and in that the tables of Migrate.
func (p *Projection) setup(ctx context.Context) error {
	err := pgx.BeginFunc(ctx, p.cfg.Database, func(tx pgx.Tx) error {
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

// makeBookkeeping creates the table of positions. It looks first, because
// CREATE SCHEMA IF NOT EXISTS asks for the right to create even when it need not.
func makeBookkeeping(ctx context.Context, tx pgx.Tx) error {
	var table, schema bool
	err := tx.QueryRow(ctx, `select to_regclass('runnel_projections.position') is not null,
		to_regnamespace('runnel_projections') is not null`).Scan(&table, &schema)
	if err != nil || table {
		return err
	}
	if !schema {
		if _, err := tx.Exec(ctx, "create schema "+bookkeeping); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, bookkeepingDDL)
	return err
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

const (
	lockSQL = `select position, ordinal from runnel_projections.position
		where projection = $1 and version = $2 and topic = $3 and partition = $4 for update`
	insertSQL = `insert into runnel_projections.position (projection, version, topic, partition, position, ordinal)
		values ($1, $2, $3, $4, $5, 0) on conflict do nothing`
	moveSQL = `update runnel_projections.position set position = $5, ordinal = $6, message_id = $7, updated_at = clock_timestamp()
		where projection = $1 and version = $2 and topic = $3 and partition = $4`
)

// lock takes the position row of a partition for this transaction and returns
// what it holds. Whoever held it before has committed or rolled back by then.
func (p *Projection) lock(ctx context.Context, tx pgx.Tx, of broker.Partition) (position.Stamp, error) {
	path, idle := p.settings()
	var stored position.Stamp
	scan := func(row pgx.Row) error {
		var text string
		var ordinal int64
		err := row.Scan(&text, &ordinal)
		if err == nil {
			stored.Position, err = position.Parse(text)
			stored.Ordinal = uint64(ordinal)
		}
		return err
	}
	var batch pgx.Batch
	batch.Queue(settingsSQL, path, idle)
	batch.Queue(lockSQL, p.cfg.Name, p.cfg.Version, of.Topic, of.Index).QueryRow(scan)
	err := tx.SendBatch(ctx, &batch).Close()
	if !errors.Is(err, pgx.ErrNoRows) {
		return stored, err
	}
	// The first event ever of this partition.
	if _, err := tx.Exec(ctx, insertSQL, p.cfg.Name, p.cfg.Version, of.Topic, of.Index, Position{}.String()); err != nil {
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == "23503" {
			return stored, ErrTables.New("projection %s, version %d, was removed from the database while it ran", p.cfg.Name, p.cfg.Version)
		}
		return stored, err
	}
	return stored, scan(tx.QueryRow(ctx, lockSQL, p.cfg.Name, p.cfg.Version, of.Topic, of.Index))
}

// move stores the position of the last event that the transaction covers.
func (p *Projection) move(ctx context.Context, tx pgx.Tx, of broker.Partition, to position.Stamp, id broker.MessageID) error {
	tag, err := tx.Exec(ctx, moveSQL, p.cfg.Name, p.cfg.Version, of.Topic, of.Index, to.Position.String(), int64(to.Ordinal), id.String())
	if err == nil && tag.RowsAffected() != 1 {
		return errors.New("the position row vanished while it was locked")
	}
	return err
}

// reached returns where the last message that a partition's position covers
// lies in the topic, if there was one.
func (p *Projection) reached(ctx context.Context, of broker.Partition) (id broker.MessageID, found bool, err error) {
	var text string
	err = p.cfg.Database.QueryRow(ctx, `select message_id from runnel_projections.position
		where projection = $1 and version = $2 and topic = $3 and partition = $4`,
		p.cfg.Name, p.cfg.Version, of.Topic, of.Index).Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) || (err == nil && text == "") {
		return id, false, nil
	}
	if err == nil {
		id, err = broker.ParseMessageID(text)
	}
	return id, err == nil, err
}

// Querier is what Positions needs: a *pgxpool.Pool, *pgx.Conn or pgx.Tx.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// PartitionPosition says up to where a projection has applied a partition.
type PartitionPosition struct {
	Version   int    // of the projection
	Topic     string // full name
	Partition int
	Position  Position
	Ordinal   uint64 // number of the partition's events that were passed
	UpdatedAt time.Time
}

// Positions reads a projection's positions, one per partition that had an
// event, from the projection's database. It works from any process. Where no
// projection ever ran there are none.
func Positions(ctx context.Context, db Querier, projection string) ([]PartitionPosition, error) {
	rows, err := db.Query(ctx, "select to_regclass('runnel_projections.position') is not null")
	if err != nil {
		return nil, fmt.Errorf("reading positions: %w", err)
	}
	if made, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[bool]); err != nil || !made {
		return nil, err
	}
	rows, err = db.Query(ctx, `select version, topic, partition, position, ordinal, updated_at
		from runnel_projections.position where projection = $1 order by version, topic, partition`, projection)
	if err != nil {
		return nil, fmt.Errorf("reading positions: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (PartitionPosition, error) {
		var r PartitionPosition
		var text string
		var ordinal int64
		err := row.Scan(&r.Version, &r.Topic, &r.Partition, &text, &ordinal, &r.UpdatedAt)
		if err == nil {
			r.Position, err = position.Parse(text)
			r.Ordinal = uint64(ordinal)
		}
		return r, err
	})
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

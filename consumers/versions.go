package consumers

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// copyState is what a version of a projection is to its readers.
type copyState string

const (
	live     copyState = "live"     // the copy that is read: schema NAME
	building copyState = "building" // built beside the live one: schema NAME_next
	old      copyState = "old"      // live until another was built: schema NAME_old
)

// schema returns the Postgres schema of a copy's tables.
func (p *Projection) schema(state copyState) string { return schemaOf(p.cfg.Name, state) }

func schemaOf(projection string, state copyState) string {
	switch state {
	case building:
		return projection + "_next"
	case old:
		return projection + "_old"
	}
	return projection
}

// versions of a projection that the database holds, by state.
type versions map[copyState]int

func readVersions(ctx context.Context, db Querier, projection string) (versions, error) {
	rows, err := db.Query(ctx, "select version, state from runnel_projections.projection where name = $1", projection)
	if err != nil {
		return nil, err
	}
	held := make(versions)
	var version int
	var state copyState
	_, err = pgx.ForEachRow(rows, []any{&version, &state}, func() error { held[state] = version; return nil })
	return held, err
}

// makeTables creates the schema and tables of this version, or checks that the
// database holds them. A version above the live one is built beside it.
func (p *Projection) makeTables(ctx context.Context, tx pgx.Tx) error {
	held, err := readVersions(ctx, tx, p.cfg.Name)
	if err != nil {
		return err
	}
	state := live
	switch {
	case len(held) == 0:
	case p.cfg.Version == held[live]:
		p.state = live
		return p.checkSchema(ctx, tx, live)
	case p.cfg.Version == held[building]:
		if p.oneConnection() {
			return p.tooFewConnections(held[live])
		}
		p.state = building
		if err := p.requireFree(ctx, tx); err != nil {
			return err
		}
		return p.checkSchema(ctx, tx, building)
	case p.cfg.Version < held[live]:
		return ErrVersion.New("the database holds version %d of projection %s, this is version %d", held[live], p.cfg.Name, p.cfg.Version).
			Fix("Start version %d; or version %d, which is built from the start of the topics beside it.", held[live], max(held[live], held[building])+1)
	case held[building] > 0:
		return ErrVersion.New("version %d of projection %s is being built, this is version %d", held[building], p.cfg.Name, p.cfg.Version).
			Fix("Start version %d; or give it up first: `runnel rebuild cancel --projection %s`.", held[building], p.cfg.Name)
	case held[old] > 0:
		return ErrOldCopy.New("projection %s still has the old copy of version %d", p.cfg.Name, held[old]).
			Fix("Remove it when you are content with version %d: `runnel rebuild drop --projection %s`; then start version %d again.",
				held[live], p.cfg.Name, p.cfg.Version)
	case p.oneConnection():
		return p.tooFewConnections(held[live])
	default:
		state = building
		if err := p.requireFree(ctx, tx); err != nil {
			return err
		}
	}
	p.state = state
	return p.create(ctx, tx, state)
}

func (p *Projection) tooFewConnections(live int) error {
	return ErrConfig.New("Database has one connection: building version %d beside version %d needs two", p.cfg.Version, live)
}

// oneConnection reports whether a swap, which waits for workers with a connection
// of its own, would wait in vain.
func (p *Projection) oneConnection() bool {
	pool, ok := p.db.(pooled)
	return ok && pool.Config().MaxConns < 2
}

// checkSchema reports when the schema of a copy is gone.
func (p *Projection) checkSchema(ctx context.Context, tx pgx.Tx, state copyState) error {
	exists, err := schemaExists(ctx, tx, p.schema(state))
	if err != nil || exists {
		return err
	}
	fault := ErrTables.New("schema %s of projection %s does not exist", p.schema(state), p.cfg.Name)
	if state == building {
		return fault.Fix("Restore the schema; or build it again: `runnel rebuild cancel --projection %s`, then start version %d again.",
			p.cfg.Name, p.cfg.Version)
	}
	return fault.Fix("Restore the schema; or start version %d, which is built from the start of the topics.", p.cfg.Version+1)
}

// requireFree reports when the name that the live copy gets in a swap is taken. No
// old copy is there.
func (p *Projection) requireFree(ctx context.Context, tx pgx.Tx) error {
	exists, err := schemaExists(ctx, tx, p.schema(old))
	if err != nil || !exists {
		return err
	}
	return ErrSchemaTaken.New("schema %s, which the live copy of projection %s would get, is there already", p.schema(old), p.cfg.Name)
}

// requireEmpty reports when the schema of a new version, which somebody made
// beforehand, holds something: whose it is, is not known.
func (p *Projection) requireEmpty(ctx context.Context, tx pgx.Tx) error {
	var used bool
	err := tx.QueryRow(ctx, `select exists (select from pg_depend where refclassid = 'pg_namespace'::regclass
		and refobjid = to_regnamespace(quote_ident($1)))`, p.schema(building)).Scan(&used)
	if err != nil || !used {
		return err
	}
	return ErrSchemaTaken.New("schema %s, in which version %d of projection %s would be built, is not empty", p.schema(building), p.cfg.Version, p.cfg.Name)
}

func schemaExists(ctx context.Context, tx pgx.Tx, name string) (exists bool, err error) {
	err = tx.QueryRow(ctx, "select to_regnamespace(quote_ident($1)) is not null", name).Scan(&exists)
	return exists, err
}

// create makes the tables of a version that the database does not know.
func (p *Projection) create(ctx context.Context, tx pgx.Tx, state copyState) error {
	exists, err := schemaExists(ctx, tx, p.schema(state))
	if err != nil {
		return err
	}
	switch {
	case exists && state == building:
		if err := p.requireEmpty(ctx, tx); err != nil {
			return err
		}
	case !exists:
		if _, err := tx.Exec(ctx, "create schema "+quote(p.schema(state))); err != nil {
			return err
		}
	}
	if err := p.adopt(ctx, tx); err != nil {
		return err
	}
	if err := p.forgetLost(ctx, tx); err != nil {
		return err
	}
	if err := p.forgetUnhandled(ctx, tx); err != nil {
		return err
	}
	if err := p.enter(ctx, tx, state); err != nil {
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
	_, err = tx.Exec(ctx, "insert into runnel_projections.projection (name, version, schema, state) values ($1, $2, $3, $4)",
		p.cfg.Name, p.cfg.Version, p.schema(state), state)
	if err != nil || state != building {
		return err
	}
	_, err = tx.Exec(ctx, "insert into runnel_projections.rebuild (projection, version) values ($1, $2)", p.cfg.Name, p.cfg.Version)
	return err
}

// findCopy finds out what this version is to its readers, and changes nothing.
func (p *Projection) findCopy(ctx context.Context) error {
	held, err := readVersions(ctx, p.db, p.cfg.Name)
	switch {
	case isMissing(err):
		return ErrTables.New("this database has no copy of projection %s", p.cfg.Name).Fix("Run the projection first.")
	case err != nil:
		return err
	case held[live] == p.cfg.Version:
		p.state = live
	case held[building] == p.cfg.Version:
		p.state = building
	default:
		return ErrVersion.New("the database does not hold version %d of projection %s", p.cfg.Version, p.cfg.Name)
	}
	return nil
}

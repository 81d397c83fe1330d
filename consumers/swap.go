package consumers

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/failpoint"
	"github.com/runnel-cdc/runnel/internal/pgfault"
)

// Bounds of how long the live copy stands still: so that the new one can reach it,
// and all in all.
const (
	swapPatience = 3 * time.Second
	swapLimit    = 8 * time.Second
)

// swap lets this version take the live one's place, if it can be reached: both
// schemas are renamed and all positions change hands in one transaction. Until
// then the live copy's rows are locked, so that it does not move; its workers, and
// those of this version, find out by the state in their rows.
//
// Postgres ends the transaction when this process is frozen amid it. enough says that
// what the live copy still tries was waited for long enough.
func (p *Projection) swap(ctx context.Context, all []broker.Partition, enough bool) (bool, error) {
	limited, cancel := context.WithTimeout(ctx, swapLimit)
	defer cancel()
	done, err := p.trySwap(limited, all, enough)
	if limited.Err() != nil && ctx.Err() == nil && !done {
		return false, nil // tried again later
	}
	return done, err
}

func (p *Projection) trySwap(ctx context.Context, all []broker.Partition, enough bool) (done bool, err error) {
	tx, err := p.db.Begin(ctx)
	if err != nil {
		return false, err
	}
	defer func() {
		if !done {
			rollback(ctx, tx)
		}
	}()
	var alone bool
	err = tx.QueryRow(ctx, `select pg_try_advisory_xact_lock($1), set_config('lock_timeout', '3s', true),
		set_config('idle_in_transaction_session_timeout', '5s', true)`, int64(setupLock)).Scan(&alone, nil, nil)
	if err != nil || !alone {
		return false, err
	}
	held, err := readVersions(ctx, tx, p.cfg.Name)
	if err != nil || held[building] != p.cfg.Version {
		return false, err
	}
	if err := p.lockAll(ctx, tx, held[live]); err != nil {
		return false, unlessLocked(err)
	}
	for deadline := p.now().Add(swapPatience); ; {
		state, err := p.compare(ctx, tx, all)
		if err != nil {
			return false, err
		}
		if state.behind == 0 {
			break
		}
		if p.now().After(deadline) {
			return false, nil
		}
		if err := p.sleep(ctx, followEvery/2); err != nil {
			return false, err
		}
	}
	// No row can be added any more; one may have been since.
	if _, err := tx.Exec(ctx, "select from runnel_projections.projection where name = $1 for update", p.cfg.Name); err != nil {
		return false, unlessLocked(err)
	}
	if err := p.lockAll(ctx, tx, held[live]); err != nil {
		return false, unlessLocked(err)
	}
	if err := p.lockAll(ctx, tx, p.cfg.Version); err != nil {
		return false, unlessLocked(err)
	}
	state, err := p.compare(ctx, tx, all)
	if err != nil || state.behind > 0 || state.held(enough) {
		return false, err
	}
	if err := p.rename(ctx, tx, held[live]); err != nil {
		return false, unlessLocked(err)
	}
	// Nothing consumes it any more.
	if err := abandon(ctx, tx, p.cfg.Name, held[live]); err != nil {
		return false, err
	}
	var parked int64
	var some []string
	if err := tx.QueryRow(ctx, `select count(*), coalesce((array_agg(event_id::text order by topic, partition, ordinal))[:10], '{}')
		from runnel_projections.parked where projection = $1 and version = $2`, p.cfg.Name, held[live]).Scan(&parked, &some); err != nil {
		return false, err
	}
	failpoint.Hit("consumers.swap") // and not committed
	if err := tx.Commit(ctx); err != nil {
		return false, err
	}
	if parked > 0 {
		p.log.Warn("events that were parked in the old copy are in the new one, but their side effects never happened: they were handled as catching up",
			keyCount, parked, "first", some)
	}
	p.log.Info("the new copy took the live one's place; the old one stays until it is dropped",
		keyVersion, p.cfg.Version, "old_version", held[live], "old_schema", p.schema(old))
	return true, nil
}

func (p *Projection) lockAll(ctx context.Context, tx pgx.Tx, version int) error {
	_, err := tx.Exec(ctx, `select from runnel_projections.position where projection = $1 and version = $2
		order by topic, partition for update`, p.cfg.Name, version)
	return err
}

// rename gives both copies their new schemas and states.
func (p *Projection) rename(ctx context.Context, tx pgx.Tx, was int) error {
	if err := p.requireFree(ctx, tx); err != nil {
		return err
	}
	exists, err := schemaExists(ctx, tx, p.schema(live))
	if err != nil {
		return err
	}
	if exists {
		if _, err := tx.Exec(ctx, "alter schema "+quote(p.schema(live))+" rename to "+quote(p.schema(old))); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, "alter schema "+quote(p.schema(building))+" rename to "+quote(p.schema(live))); err != nil {
		return err
	}
	for _, change := range []struct {
		version int
		to      copyState
	}{{was, old}, {p.cfg.Version, live}} {
		var batch pgx.Batch
		batch.Queue("update runnel_projections.projection set state = $3, schema = $4 where name = $1 and version = $2",
			p.cfg.Name, change.version, change.to, p.schema(change.to))
		batch.Queue("update runnel_projections.position set state = $3 where projection = $1 and version = $2",
			p.cfg.Name, change.version, change.to)
		if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, "update runnel_projections.rebuild set swapped_at = clock_timestamp() where projection = $1 and version = $2",
		p.cfg.Name, p.cfg.Version); err != nil {
		return err
	}
	return p.copyGrants(ctx, tx)
}

// grantsSQL gives the statements that grant on the new copy what was granted on the
// old one: its schema, and the tables, views and sequences that both have.
const grantsSQL = `
with target as (
	select 'schema ' || quote_ident($2) as name, a.*
	from pg_namespace n, aclexplode(n.nspacl) a where n.nspname = $1 and a.grantee <> n.nspowner
	union all
	select case c.relkind when 'S' then 'sequence ' else '' end || format('%I.%I', $2::text, c.relname), a.*
	from pg_class c
	join pg_namespace n on n.oid = c.relnamespace and n.nspname = $1
	join pg_class d on d.relname = c.relname and d.relkind = c.relkind and d.relnamespace = to_regnamespace(quote_ident($2)),
	aclexplode(c.relacl) a
	where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and a.grantee <> c.relowner
)
select format('grant %s on %s to %s%s', privilege_type, name,
	case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end,
	case when is_grantable then ' with grant option' else '' end)
from target`

func (p *Projection) copyGrants(ctx context.Context, tx pgx.Tx) error {
	rows, _ := tx.Query(ctx, grantsSQL, p.schema(old), p.schema(live))
	statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, s := range statements {
		if _, err := tx.Exec(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// unlessLocked is nil for a lock that was not to be had, or not in time: tried again
// later.
func unlessLocked(err error) error {
	if state := pgfault.State(err); state == stateLocked || state == stateDeadlock {
		return nil
	}
	return err
}

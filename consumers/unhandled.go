package consumers

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
)

// Events of a type without a handler are passed over, and are not to be had again
// without building the copy anew. A handler that comes later would begin in the
// middle, and another instance with the same handlers might hold another copy.
//
// Invariant: the first event of such a type is noted in the transaction that moves
// the position past it. A copy whose handlers take a noted type is not gone on with,
// unless Config.AllowUnhandled says so.

// There is no foreign key: it would lock the version's row after a position's row,
// and whoever removes a version does so in the other order (forgetUnhandled).
const unhandledDDL = `
create table runnel_projections.unhandled (
	projection text    not null,
	version    integer not null,
	topic      text    not null,
	event_type text    not null,
	since      timestamptz not null default now(),
	primary key (projection, version, topic, event_type)
);
comment on table runnel_projections.unhandled is
	'Event types of which a copy passed events without a handler; written in the transaction that moves the position.';`

// unhandledSQL writes in the order of the key, so that of two transactions that do
// so one waits for the other, and never both.
const unhandledSQL = `insert into runnel_projections.unhandled (projection, version, topic, event_type)
	select $1, $2, $3, t from unnest($4::text[]) t order by t on conflict do nothing`

// newUnhandled returns the types of entries that were passed without a handler and
// are not known to be noted.
func (w *worker) newUnhandled(entries []entry, fates []fate) (types []string) {
	for i, f := range fates {
		if t := entries[i].Type; f == wasUnknown && !w.unhandled[t] && !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	return types
}

// queueUnhandled adds a statement to b that notes types, if there are any.
func (p *Projection) queueUnhandled(b *pgx.Batch, topic string, types []string) {
	if len(types) > 0 {
		b.Queue(unhandledSQL, p.cfg.Name, p.cfg.Version, topic, types)
	}
}

// forgetUnhandled removes what is noted of versions that are not there (any more).
func (p *Projection) forgetUnhandled(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `delete from runnel_projections.unhandled where projection = $1
		and version not in (select version from runnel_projections.projection where name = $1)`, p.cfg.Name)
	return err
}

// maxUnhandled bounds what a worker remembers; of more types it writes again.
const maxUnhandled = 1000

// noted remembers types that are in the database.
func (w *worker) noted(types []string) {
	for _, t := range types {
		if len(w.unhandled) < maxUnhandled {
			w.unhandled[t] = true
			w.log.Info("events of a type without a handler are passed over", keyEventType, t)
		}
	}
}

// checkUnhandled reports a handler that came too late for this copy. types is nil
// where one handler takes them all.
func (p *Projection) checkUnhandled(ctx context.Context, tx pgx.Tx, types []string) error {
	rows, _ := tx.Query(ctx, `select distinct event_type from runnel_projections.unhandled
		where projection = $1 and version = $2 and ($3::text[] is null or event_type = any ($3)) order by 1`, p.cfg.Name, p.cfg.Version, types)
	late, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, t := range late {
		if !slices.Contains(p.cfg.AllowUnhandled, t) {
			return ErrHandlerLate.New("version %d of projection %s has passed events of type %s without a handler", p.cfg.Version, p.cfg.Name, t).
				Fix("Raise Config.Version to %d, which builds a copy that has them all. Or, where the events from now on are enough, name %s in Config.AllowUnhandled.",
					p.cfg.Version+1, t)
		}
	}
	if len(late) > 0 {
		p.log.Warn("the copy goes without the events that it passed before it had a handler for them", "event_types", late)
	}
	return nil
}

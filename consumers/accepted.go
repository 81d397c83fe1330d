package consumers

import (
	"context"
	"errors"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
)

// What Config.AllowMissing lets a copy go without, while it is built, is written
// down: who goes on with the copy later, when it may be the live one, must not stop
// at the same gap.

const acceptedDDL = `
create table runnel_projections.accepted (
	projection text    not null,
	version    integer not null,
	topic      text    not null,
	partition  integer not null,
	position   text collate "C" not null,
	ordinal    bigint  not null,
	at         timestamptz not null default now(),
	primary key (projection, version, topic, partition, ordinal),
	foreign key (projection, version)
		references runnel_projections.projection (name, version) on delete cascade on update cascade
);
comment on table runnel_projections.accepted is 'Events with a gap in the topic before them, which the copy goes without.';`

// accept lets a copy go on without events that the topic itself lacks, where
// Config.AllowMissing says so, or said so then: while it is built, or with its first
// event. batch begins with the one behind the gap, as read from the topic.
func (w *worker) accept(ctx context.Context, gap error, batch []*broker.Incoming, first bool) (bool, error) {
	if !errors.Is(gap, ErrGap) || len(batch) == 0 {
		return false, nil
	}
	_, stamp, err := w.codec.read(batch[0])
	if err != nil || stamp == w.accepted {
		return false, nil
	}
	first = first && w.accepted == (position.Stamp{})
	for {
		ok, err := w.p.accept(ctx, w.partition, stamp, w.p.cfg.AllowMissing && (first || w.state == building))
		if err == nil {
			w.database.over()
			if ok {
				w.accepted = stamp
				w.log.Warn("events are missing in the topic; the copy goes without them", explain(gap)...)
			}
			return ok, nil
		}
		w.status.troubled(err, 0)
		if err := w.database.wait(ctx, err); err != nil {
			return false, err
		}
	}
}

// accept writes a gap down, if it may be accepted, and reports whether it was, now
// or before.
func (p *Projection) accept(ctx context.Context, of broker.Partition, behind position.Stamp, may bool) (accepted bool, err error) {
	if may {
		_, err = p.db.Exec(ctx, `insert into runnel_projections.accepted (projection, version, topic, partition, position, ordinal)
			values ($1, $2, $3, $4, $5, $6) on conflict (projection, version, topic, partition, ordinal) do update set position = excluded.position`,
			p.cfg.Name, p.cfg.Version, of.Topic, of.Index, behind.Position.String(), int64(behind.Ordinal))
		if err != nil {
			return false, err
		}
	}
	err = p.db.QueryRow(ctx, `select exists (select from runnel_projections.accepted where projection = $1 and version = $2
		and topic = $3 and partition = $4 and position = $5 and ordinal = $6)`,
		p.cfg.Name, p.cfg.Version, of.Topic, of.Index, behind.Position.String(), int64(behind.Ordinal)).Scan(&accepted)
	return accepted, err
}

package consumers

import (
	"context"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
)

// liveSQL finds the version of projection $1 that readers see: the only place
// that decides it. No row: there is no such projection.
const liveSQL = `select version from runnel_projections.projection where name = $1 and state = 'live'`

// What a projection writes down of itself, so that WaitFor works from a process
// that has nothing but the database, and the ids of the events that it passed.
// The second index of table passed does not begin with the projection, so that it
// can't be taken for the first one while the table has no statistics.
const waitingDDL = `
create table runnel_projections.waiting (
	projection  text     not null,
	version     integer  not null,
	event_types text[],
	kept        interval,
	since       timestamptz,
	primary key (projection, version),
	check ((kept is null) = (since is null)),
	foreign key (projection, version)
		references runnel_projections.projection (name, version) on delete cascade on update cascade
);
comment on table runnel_projections.waiting is 'What WaitFor has to know of a projection, as the instance that started last said.';
comment on column runnel_projections.waiting.event_types is 'Those with a handler; NULL: one handler takes all.';
comment on column runnel_projections.waiting.kept is 'How long the ids of passed events are kept; NULL: they are not.';
comment on column runnel_projections.waiting.since is 'Events from before may have been passed without their ids being kept.';
create table runnel_projections.topic (
	projection text    not null,
	version    integer not null,
	topic      text    not null,
	partitions integer check (partitions > 0),
	primary key (projection, version, topic),
	foreign key (projection, version)
		references runnel_projections.projection (name, version) on delete cascade on update cascade
);
comment on table runnel_projections.topic is 'The topics that a projection reads; partitions is NULL until a topic was found.';
create table runnel_projections.passed (
	projection text        not null,
	version    integer     not null,
	topic      text        not null,
	partition  integer     not null,
	event_id   uuid        not null,
	passed_at  timestamptz not null default now(),
	primary key (event_id, projection, version),
	foreign key (projection, version, topic, partition)
		references runnel_projections.position on delete cascade on update cascade
);
create index on runnel_projections.passed (topic, partition, projection, version, passed_at);
comment on table runnel_projections.passed is
	'Ids of events that the position is past, for a while; those that are in table parked too are not applied.';`

// describeSQL keeps in since the time from which on all ids were kept: what was
// passed before there was a window, or was forgotten by a shorter one, stays so.
const describeSQL = `
insert into runnel_projections.waiting as w (projection, version, event_types, kept, since)
values ($1, $2, $3, make_interval(secs => $4), case when $4::float8 is null then null
	when exists (select from runnel_projections.position where projection = $1 and version = $2) then now()
	else '-infinity' end)
on conflict (projection, version) do update set event_types = excluded.event_types, kept = excluded.kept,
	since = case when excluded.kept is null then null
		when w.kept is null then now()
		else greatest(w.since, now() - w.kept) end`

const (
	listTopicsSQL = `insert into runnel_projections.topic (projection, version, topic)
		select $1, $2, t from unnest($3::text[]) t on conflict do nothing`
	dropTopicsSQL = `delete from runnel_projections.topic where projection = $1 and version = $2 and topic <> all ($3::text[])`
	countSQL      = `update runnel_projections.topic set partitions = $4
		where projection = $1 and version = $2 and topic = $3 and partitions is distinct from $4`
)

// describe writes down what WaitFor has to know, in the transaction of setup:
// before any event is passed.
func (p *Projection) describe(ctx context.Context, tx pgx.Tx, topics []string) error {
	var types []string // nil for HandleBatch
	if p.batch == nil {
		types = slices.Sorted(maps.Keys(p.handlers))
	}
	if err := p.checkUnhandled(ctx, tx, types); err != nil {
		return err
	}
	var window *float64
	if p.cfg.WaitWindow > 0 {
		seconds := p.cfg.WaitWindow.Seconds()
		window = &seconds
	}
	var batch pgx.Batch
	batch.Queue(describeSQL, p.cfg.Name, p.cfg.Version, types, window)
	batch.Queue(dropTopicsSQL, p.cfg.Name, p.cfg.Version, topics)
	batch.Queue(listTopicsSQL, p.cfg.Name, p.cfg.Version, topics)
	return tx.SendBatch(ctx, &batch).Close()
}

// describePartitions writes down how many partitions a topic has, for life. Where
// the projection is gone, the workers find out.
func (p *Projection) describePartitions(ctx context.Context, topic string, count int) error {
	return p.untilUp(ctx, "describing a topic in the projection's database", func(ctx context.Context) error {
		_, err := p.db.Exec(ctx, countSQL, p.cfg.Name, p.cfg.Version, topic, count)
		return p.rightsFault(err)
	})
}

-- Repair of slots: how far a slot may have come by the pipeline's doing, and the rows from
-- before a slot that was made anew.

alter table runnel.pipeline
    add column slot_limit  pg_lsn,
    add column damage      text,
    add column repaired_at timestamptz;
alter table runnel.pipeline set (fillfactor = 50);
comment on column runnel.pipeline.slot_limit is 'the pipeline confirms nothing beyond this: a slot that is, somebody else moved or made anew';
comment on column runnel.pipeline.damage is 'why the slot must be repaired before anything is published; null: nothing is known';
comment on column runnel.pipeline.repaired_at is 'when the slot was made anew: the rows from before it that are to be published are those in runnel.repair_row';

alter table runnel.pipeline add column settled_seq bigint not null default 0;
comment on column runnel.pipeline.settled_seq is 'rows up to this came with the database from another server: their xids are of that one, and whether they were published is settled';

alter table runnel.epoch add column before_lsn pg_lsn;
comment on column runnel.epoch.before_lsn is 'of an era on another server than the one before: where that one ends, in LSNs of its own; null: at begin_lsn';

-- Whether every row of the partition is visible in the snapshot up to which
-- each pipeline has confirmed.
create or replace function runnel.partition_confirmed(name text) returns boolean
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
as $$
declare
    confirmed boolean;
begin
    execute format('select not exists (
            select from runnel.pipeline p
              join runnel.progress g on g.pipeline = p.name
              join runnel.%I o on o.xid >= pg_snapshot_xmin(g.snapshot) and o.seq > p.settled_seq
             where not pg_visible_in_snapshot(o.xid, g.snapshot))', name)
       into confirmed;
    return confirmed;
end
$$;

alter table runnel.progress
    add column sampled_lsn pg_lsn,
    add column sampled_at  timestamptz;
comment on column runnel.progress.sampled_lsn is 'read before the snapshot was taken: what began after the snapshot committed at or above this';

alter table runnel.progress_partition add column resumed_ordinal bigint;
comment on column runnel.progress_partition.resumed_ordinal is 'set by a person: the partition has lost messages up to this ordinal for good, and goes on behind it';

create table runnel.repair_row (
    pipeline    text        not null,
    seq         bigint      not null,
    id          uuid        not null,
    inserted_at timestamptz not null,
    early       boolean     not null,
    primary key (pipeline, seq)
);
create index repair_row_id on runnel.repair_row (id);
comment on table runnel.repair_row is 'What a repair of a slot publishes: rows of the outbox that are in no topic.';
comment on column runnel.repair_row.early is 'its transaction had begun when the progress was saved: it may have been published before that';

revoke all on runnel.repair_row from public;

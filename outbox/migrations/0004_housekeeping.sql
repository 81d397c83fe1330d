-- Partitions: made ahead, adopted, dropped. The daemon may call these
-- functions and nothing else: they run as the owner, with a pinned search_path
-- and a lock_timeout (55P03: try again later), so that a writer never waits
-- long behind them.
--
-- Lock order everywhere: the root, then a partition, as an INSERT does.

create function runnel.partitions(
    out name text, out lower timestamptz, out upper timestamptz, out is_default boolean
) returns setof record
    language sql stable
    set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, YMD'
as $$
    select c.relname::text,
           (regexp_match(b.bound, 'FROM \(''([^'']+)''\)'))[1]::timestamptz,
           (regexp_match(b.bound, 'TO \(''([^'']+)''\)'))[1]::timestamptz,
           b.bound = 'DEFAULT'
      from pg_inherits i
      join pg_class c on c.oid = i.inhrelid
     cross join lateral (select pg_get_expr(c.relpartbound, c.oid) as bound) b
     where i.inhparent = 'runnel.outbox'::regclass
     order by 4, 2
$$;
comment on function runnel.partitions() is 'Partitions of the outbox with their bounds; the default partition last.';

-- Created on its own and then attached: CREATE TABLE ... PARTITION OF would
-- lock out every writer, ATTACH locks only the default partition.
create function runnel.make_partition(name text, bounds text) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    execute format('create table runnel.%I (like runnel.outbox including defaults including constraints including storage including compression)', name);
    execute format('create trigger outbox_no_truncate before truncate on runnel.%I for each statement execute function runnel.reject_change()', name);
    execute format('alter table runnel.outbox attach partition runnel.%I %s', name, bounds);
end
$$;

-- Makes the missing daily partitions (days of UTC) from today on, and the
-- default partition. Returns how many. A day that the default partition holds
-- rows of is refused (23514): adopt them first.
create function runnel.ensure_partitions(days_ahead integer default 30) returns integer
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, YMD' set lock_timeout = '2s'
as $$
declare
    made integer := 0;
    day  timestamptz;
begin
    perform pg_advisory_xact_lock(1381322316, 2);
    if not exists (select from runnel.partitions() p where p.is_default) then
        perform runnel.make_partition('outbox_default', 'default');
        made := made + 1;
    end if;
    for day in
        select d.day
          from generate_series(date_trunc('day', now()),
                               date_trunc('day', now()) + make_interval(days => days_ahead),
                               interval '1 day') as d(day)
         where not exists (select from runnel.partitions() p
                            where p.lower < d.day + interval '1 day' and p.upper > d.day)
         order by 1
    loop
        perform runnel.make_partition(
            format('outbox_p%s', to_char(day, 'YYYYMMDD')),
            format('for values from (%L) to (%L)', day, day + interval '1 day'));
        made := made + 1;
    end loop;
    return made;
end
$$;

-- Turns the default partition, when it holds rows, into a partition with the
-- bounds of whole days around them, and makes a new default. Rows are never
-- moved: a move is an INSERT, and would be published again. Returns the new
-- partition's name, or NULL when there was nothing to adopt. Raises RN005 when
-- a partition lies between the rows, which then stay where they are.
create function runnel.adopt_default() returns text
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, YMD' set lock_timeout = '2s'
as $$
declare
    first_day timestamptz;
    end_day   timestamptz;
    adopted   text;
    between   text;
begin
    perform runnel.require_read_committed();
    perform pg_advisory_xact_lock(1381322316, 2);
    if to_regclass('runnel.outbox_default') is null then
        return null; -- dropped by hand; ensure_partitions makes one
    end if;
    if not exists (select from runnel.outbox_default) then
        return null;
    end if;
    lock table only runnel.outbox in access exclusive mode;
    lock table runnel.outbox_default in access exclusive mode;
    select date_trunc('day', min(o.inserted_at)), date_trunc('day', max(o.inserted_at)) + interval '1 day'
      into first_day, end_day
      from runnel.outbox_default o;
    if first_day is null then
        return null;
    end if;
    select p.name into between
      from runnel.partitions() p where p.lower < end_day and p.upper > first_day limit 1;
    if found then
        raise exception 'the default partition holds rows of % to %, and partition % lies between them',
                first_day, end_day, between
            using errcode = 'RN005',
                  hint = 'The rows are safe and were published. They go by retention, once all of them are old enough and confirmed.';
    end if;
    adopted := format('outbox_p%s_%s', to_char(first_day, 'YYYYMMDD'), to_char(end_day - interval '1 day', 'YYYYMMDD'));
    alter table runnel.outbox detach partition runnel.outbox_default;
    execute format('alter table runnel.outbox_default rename to %I', adopted);
    execute format('alter table runnel.outbox attach partition runnel.%I for values from (%L) to (%L)',
        adopted, first_day, end_day);
    perform runnel.make_partition('outbox_default', 'default');
    return adopted;
end
$$;

-- After a lock has been waited for, the next statement must see what was
-- committed meanwhile; under REPEATABLE READ it would not.
create function runnel.require_read_committed() returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
        raise exception 'housekeeping needs isolation level READ COMMITTED' using errcode = 'RN004';
    end if;
end
$$;

-- Whether progress of every pipeline is known on this very cluster: xids of
-- another one mean nothing here.
create function runnel.progress_known() returns boolean
    language sql volatile
    set search_path = pg_catalog, pg_temp
as $$
    select exists (select from runnel.pipeline)
       and not exists (
            select from runnel.pipeline p
              left join runnel.progress g on g.pipeline = p.name
             where not p.snapshot_done
                or g.snapshot is null
                or p.system_id <> (select c.system_identifier::text from pg_control_system() c))
$$;

-- Whether every row of the partition is visible in the snapshot up to which
-- each pipeline has confirmed.
create function runnel.partition_confirmed(name text) returns boolean
    language plpgsql volatile
    set search_path = pg_catalog, pg_temp
as $$
declare
    confirmed boolean;
begin
    execute format('select not exists (
            select from runnel.pipeline p
              join runnel.progress g on g.pipeline = p.name
              join runnel.%I o on o.xid >= pg_snapshot_xmin(g.snapshot)
             where not pg_visible_in_snapshot(o.xid, g.snapshot))', name)
       into confirmed;
    return confirmed;
end
$$;

-- Drops one partition (the oldest first) that is older than the retention and
-- wholly confirmed by every pipeline; call it until it returns NULL. Nothing
-- is dropped without a retention, without a pipeline, or while the progress of
-- one is unknown.
create function runnel.drop_confirmed(retention interval) returns text
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, YMD' set lock_timeout = '2s'
as $$
declare
    limit_at timestamptz := now() - retention;
    part     record;
    newest   timestamptz;
begin
    if retention is null or retention <= interval '0' or not runnel.progress_known() then
        return null;
    end if;
    perform runnel.require_read_committed();
    perform pg_advisory_xact_lock(1381322316, 2);
    for part in select * from runnel.partitions() p where p.is_default or p.upper <= limit_at loop
        if part.is_default then
            select max(o.inserted_at) into newest from runnel.outbox_default o;
            continue when newest is null or newest >= limit_at;
        end if;
        continue when not runnel.partition_confirmed(part.name);
        -- Looked at without a lock: look again with one. It waits for writers
        -- that hold rows in the partition and have not committed.
        lock table only runnel.outbox in access exclusive mode;
        execute format('lock table runnel.%I in access exclusive mode', part.name);
        if part.is_default then
            select max(o.inserted_at) into newest from runnel.outbox_default o;
        end if;
        if newest >= limit_at or not runnel.progress_known() or not runnel.partition_confirmed(part.name) then
            return null;
        end if;
        execute format('drop table runnel.%I', part.name);
        if part.is_default then
            perform runnel.make_partition('outbox_default', 'default');
        end if;
        return part.name;
    end loop;
    return null;
end
$$;

-- The first partitions.
-- How many is the housekeeper's to say later. Who makes many outboxes, as tests do,
-- sets fewer first: a partition takes longer to make than all the rest.
select runnel.ensure_partitions(coalesce(nullif(current_setting('runnel.days_ahead', true), ''), '30')::integer);

revoke all on all functions in schema runnel from public;

-- The first state of a watched table: its rows, as events, in chunks.
--
-- Each chunk is a range of the table's blocks and a transaction of its own. Its
-- rows are locked as they are read (FOR SHARE), so that the event of a row and
-- the events of its changes commit in the right order. Why no row is missed:
-- one that moves (an UPDATE) or comes (an INSERT) after the trigger was made has
-- an event of its own, so the blocks there are at the start are enough. That holds
-- for as long as the trigger is that very one: where it was made anew, because it
-- was gone or disabled (runnel.watch) or the leaf is a partition that joined, a leaf
-- is read from its beginning, also when it was done.
--
-- A writer never waits for more than one chunk, and never in a deadlock with us:
-- rows that a writer holds are skipped (SKIP LOCKED) and noted; one that is waited
-- for is waited for in a transaction that holds no other.

create table runnel.first_state (
    relation    regclass    primary key,
    done        oid[]       not null default '{}', -- the triggers (runnel_watch) of the leaves that are
    leaf        regclass,            -- being read
    trigger     oid,                 -- the leaf's
    file        oid,                 -- the leaf's: another one after a rewrite (VACUUM FULL, TRUNCATE)
    next_block  bigint      not null default 0,
    end_block   bigint      not null default 0,
    blocks      bigint      not null default 1, -- of the next chunk
    waiting     tid[]       not null default '{}',
    rows        bigint      not null default 0,
    started_at  timestamptz not null default now(),
    finished_at timestamptz
);
comment on table runnel.first_state is 'How far runnel.publish_rows has come with each table.';

create trigger table_owner before insert or update or delete on runnel.first_state
    for each row execute function runnel.require_table_owner();

-- SQL for publish_chunk, which runs as its caller: a row's id, fields, size, and its
-- key for an error, where it may be NULL.
create function runnel.first_state_sql(relation regclass, out id text, out fields text, out size text, out key text, out aggregate text, out max_bytes integer)
    language plpgsql stable security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    w       runnel.watched := (select w from runnel.watched w where w.relation = first_state_sql.relation);
    changes text;
begin
    if w.relation is null then
        raise exception 'table % is not watched', relation using errcode = 'RN010', hint = format('select runnel.watch(%L, aggregate => ...);', relation);
    end if;
    select string_agg(c.message, '; ') into changes from runnel.watch_changes(relation) c where c.effect is not null;
    if changes is not null then
        raise exception 'table % was altered since runnel.watch: %', relation, changes using errcode = 'RN009', hint = runnel.watch_remedy(relation);
    end if;
    id := runnel.id_sql(relation::text, w.fields, w.key, 't', true);
    fields := runnel.row_sql(relation::text, w.fields, 't', true);
    size := runnel.size_sql(w.fields, 't');
    key := runnel.id_sql(relation::text, w.fields, w.key, 't', false);
    aggregate := w.aggregate_type;
    max_bytes := w.max_bytes;
end
$$;

-- Begins, or goes on where an earlier call was interrupted.
create function runnel.publish_begin(relation regclass) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform runnel.first_state_sql(relation);
    delete from runnel.first_state s where s.relation = publish_begin.relation and s.finished_at is not null;
    insert into runnel.first_state (relation) values (relation) on conflict do nothing;
end
$$;

-- The trigger that tells of each row of a leaf that changes: none if it is disabled.
create function runnel.row_trigger(leaf regclass) returns oid
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return (select t.oid from pg_trigger t where t.tgrelid = leaf and t.tgname = 'runnel_watch' and t.tgenabled = 'A');
end
$$;

-- Raises the error of the first row that cannot be published, with the row's key.
create function runnel.find_refused(relation regclass, leaf regclass, place text, rows text, key text, max_bytes integer) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp set row_security = off set extra_float_digits = 1
as $$
declare
    r    record;
    hint text;
begin
    for r in execute format('select t.ctid as tid, %s as key from only %s t where %s', key, leaf, place) loop
        begin
            execute format('select runnel.event_payload(%L, r.id, r.fields, r.size, %s) from (%s where t.ctid = %L) r', relation, max_bytes, rows, r.tid);
        exception when sqlstate 'RN008' then
            get stacked diagnostics hint = pg_exception_hint;
            raise exception 'row % (ctid % of table %) cannot be published: %', coalesce(left(r.key, 100), 'without a key'), r.tid, leaf, sqlerrm
                using errcode = 'RN008', hint = hint;
        end;
    end loop;
end
$$;

-- One transaction's worth; false when all is done. Two sessions that call it take
-- turns.
create function runnel.publish_chunk(relation regclass, chunk integer) returns boolean
    language plpgsql
    set search_path = pg_catalog, pg_temp set row_security = off set extra_float_digits = 1
as $$
#variable_conflict use_column
declare
    s       runnel.first_state;
    w       record;
    trigger oid;
    file    oid;
    place   text;
    rows    text;
    got     bigint;
    held    tid[];
begin
    if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
        raise exception 'runnel.publish_rows needs isolation level READ COMMITTED' using errcode = 'RN004';
    elsif chunk is null or chunk not between 1 and 1000000 then
        raise exception 'runnel.publish_rows: chunk must be from 1 to 1000000 rows' using errcode = 'RN004';
    end if;
    perform runnel.require_all_rows(relation);
    select * into w from runnel.first_state_sql(relation);
    select * into s from runnel.first_state f where f.relation = publish_chunk.relation for update;
    if s.relation is null or s.finished_at is not null then
        return false;
    end if;

    -- The next leaf, or the same once more.
    if s.leaf is null or cardinality(s.waiting) = 0 and s.next_block >= s.end_block then
        if s.leaf is not null and s.trigger is not null then
            s.done := s.done || s.trigger;
        end if;
        select l into s.leaf from runnel.leaves(relation) l where coalesce(runnel.row_trigger(l) <> all (s.done), true) order by l::oid limit 1;
        if not found then
            update runnel.first_state f set leaf = null, done = s.done, finished_at = clock_timestamp() where f.relation = publish_chunk.relation;
            return false;
        end if;
        s.file := null;
    end if;
    if not exists (select from runnel.leaves(relation) l where l = s.leaf) then -- detached or dropped
        update runnel.first_state f set leaf = null, next_block = 0, end_block = 0, waiting = '{}' where f.relation = publish_chunk.relation;
        return true;
    end if;
    perform runnel.require_all_rows(s.leaf);

    place := case
        when s.file is null then 'false' -- looks at nothing, but holds the table
        when cardinality(s.waiting) > 0 then format('t.ctid = any (%L)', s.waiting)
        else format('t.ctid >= ''(%s,0)'' and t.ctid < ''(%s,0)''', s.next_block, least(s.next_block + s.blocks, s.end_block)) end;
    rows := format('select t.ctid as tid, %s as id, %s as fields, %s as size from only %s t', w.id, w.fields, w.size, s.leaf);
    for patience in 0 .. 1 loop
        begin
            execute format('with seen as materialized (select t.ctid as tid from only %1$s t where %2$s),
                    taken as materialized (%3$s where %2$s for share %4$s),
                    put as (insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload)
                        select %5$L, id, %6$L, 2, runnel.event_payload(%7$L, id, concat(''{"operation":"FIRST_STATE","row":'', fields, ''}''), size, %8$s) from taken)
                select (select count(*) from taken), array(select tid from seen except select tid from taken)',
                s.leaf, place, rows, case patience when 0 then 'skip locked' end,
                w.aggregate, runnel.pascal(w.aggregate) || 'Changed', relation, w.max_bytes) into got, held;
        exception when sqlstate 'RN008' then
            perform runnel.find_refused(relation, s.leaf, place, rows, w.key, w.max_bytes);
            raise;
        end;
        exit when patience = 1 or cardinality(s.waiting) = 0 or cardinality(held) < cardinality(s.waiting);
        place := format('t.ctid = %L', s.waiting[1]); -- all are still held: wait for one
    end loop;

    -- Asked for now that the table cannot be rewritten, nor lose a trigger, until we
    -- commit.
    file := pg_relation_filenode(s.leaf);
    trigger := runnel.row_trigger(s.leaf);
    if trigger is null then
        raise exception 'the trigger runnel_watch of table % is gone, or disabled: its changes are not published', s.leaf
            using errcode = 'RN009', hint = format('select runnel.watch(%1$L); call runnel.publish_rows(%1$L);', relation);
    elsif s.file is distinct from file or s.trigger is distinct from trigger then
        s.file := file;
        s.trigger := trigger;
        s.next_block := 0;
        s.end_block := pg_relation_size(s.leaf) / current_setting('block_size')::bigint;
        s.waiting := '{}';
        got := 0;
    elsif cardinality(s.waiting) = 0 then
        s.waiting := held;
        s.next_block := least(s.next_block + s.blocks, s.end_block);
        s.blocks := greatest(1, least(s.blocks * 2, s.blocks * chunk / greatest(got + cardinality(held), 1), 4096));
    elsif cardinality(held) < cardinality(s.waiting) and starts_with(place, 't.ctid = any') then
        s.waiting := held;
    else
        s.waiting := s.waiting[2:];
    end if;
    update runnel.first_state f
       set done = s.done, leaf = s.leaf, trigger = s.trigger, file = s.file, next_block = s.next_block, end_block = s.end_block, blocks = s.blocks, waiting = s.waiting, rows = f.rows + got
     where f.relation = publish_chunk.relation;
    return true;
end
$$;

-- Publishes every row of a watched table as an event with operation FIRST_STATE,
-- chunk rows (about) in a transaction. Run it as the table's owner, outside of a
-- transaction. After an interruption the next call goes on; some rows may then
-- come twice, which does no harm: each event is the row as it was at its commit.
create procedure runnel.publish_rows(relation regclass, chunk integer default 1000)
    language plpgsql
as $$
-- A procedure that commits cannot pin its search_path: nothing here may need one.
declare
    more boolean;
begin
    perform runnel.publish_begin(relation);
    commit;
    loop
        more := runnel.publish_chunk(relation, chunk);
        commit;
        exit when not more;
    end loop;
end
$$;
comment on procedure runnel.publish_rows(regclass, integer) is
    'Publishes the rows of a watched table, in chunks, beside its writers. Run it as the table''s owner.';

revoke all on table runnel.first_state from public;
revoke all on all functions in schema runnel from public;
revoke all on all procedures in schema runnel from public;

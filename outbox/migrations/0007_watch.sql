-- Watched tables: a trigger on a service's own table writes an event for every
-- row that changes.
--
--   watch (as the table's owner) --row--> runnel.watched --install--> trigger function,
--      |                                   (as our owner)              one for each table
--      +--CREATE TRIGGER--> the table --each row--> trigger function --> runnel.outbox
--
-- The trigger function is written for its table, because a general one would plan
-- an expression for every row. It runs as the owner of this schema, so that every
-- role that may write the table can. Who may make one: the table's owner, who
-- must be a writer too. That is decided by require_table_owner, in a trigger of
-- runnel.watched, where current_user is the caller; all else runs as our owner.
--
-- Events keep the order of the changes, except within one statement whose triggers
-- change the same table again: then the older change's trigger may fire last. So
-- once a table has been changed from within more triggers, the rest of the
-- statement publishes rows as they are now (`careful`): whichever event comes
-- last, tells the last state. The same for a key whose uniqueness is deferred.
--
-- SQLSTATEs: RN009 the table was altered so that its events cannot be filled,
-- RN010 the table is not watched, or otherwise than asked.

create table runnel.watched (
    relation       regclass    primary key,
    aggregate_type text        not null unique check (aggregate_type ~ '^[A-Za-z][A-Za-z0-9_.-]*$' and octet_length(aggregate_type) <= 180),
    key            text[]      not null,
    before         boolean     not null,
    exclude        text[]      not null,
    max_bytes      integer     not null check (max_bytes > 0),
    -- The rest is worked out by install_watch.
    function       name        not null unique,
    version        integer     not null,
    relid          oid         not null,
    uniqueness     text        not null,
    fields         jsonb       not null,
    hidden         int2[]      not null,
    signature      text        not null,
    watched_at     timestamptz not null default now(),
    watched_by     name        not null default current_user
);
comment on table runnel.watched is 'Tables whose rows are published: runnel.watch, runnel.unwatch.';
comment on column runnel.watched.key is 'fields that make the aggregate id';
comment on column runnel.watched.uniqueness is 'of the key: immediate, deferred, none';
comment on column runnel.watched.fields is 'what the events hold: see runnel.table_fields';
comment on column runnel.watched.version is 'of the trigger function: a session may still run the one before';
comment on column runnel.watched.signature is 'the columns, but the hidden ones, as they were when fields was written';
comment on column runnel.watched.relid is 'the table''s oid then; another after a restore, where column numbers differ';

-- With it, what a session keeps for itself in its settings cannot be forged.
create table runnel.watch_secret (secret text not null);
insert into runnel.watch_secret values (concat(gen_random_uuid(), gen_random_uuid()));

create function runnel.require_table_owner() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    changed regclass := case tg_op when 'INSERT' then new.relation else old.relation end;
    owner   oid := (select c.relowner from pg_class c where c.oid = changed);
begin
    if owner is null and tg_op = 'DELETE' or pg_has_role(current_user, owner, 'USAGE') then
        return case tg_op when 'DELETE' then old else new end;
    end if;
    raise exception 'must be owner of table %', changed
        using errcode = '42501', hint = 'Whether a table''s rows are published is for its owner to say.';
end
$$;

-- Refuses what has no rows of its own, or rows that change unseen by a trigger.
create function runnel.require_watchable(relation regclass) returns void
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    c   pg_class := (select c from pg_class c where c.oid = relation);
    why text;
begin
    why := case
        when c.relkind = 'v' then 'it is a view: watch the tables it reads'
        when c.relkind = 'm' then 'it is a materialized view, which no trigger sees: watch the tables it reads'
        when c.relkind = 'f' then 'it is a foreign table: watch it where its rows are'
        when c.relkind not in ('r', 'p') then 'it is no table'
        when c.relnamespace = 'runnel'::regnamespace then 'it belongs to Runnel'
        when c.relpersistence = 't' then 'it is temporary'
        when c.relpersistence = 'u' then 'it is unlogged: its rows may vanish in a crash'
        when c.relkind = 'r' and exists (select from pg_inherits i where i.inhparent = c.oid)
            then 'other tables inherit from it, whose rows its trigger does not see: watch each of them'
        when exists (select from runnel.leaves(relation) l join pg_class p on p.oid = l where p.relkind <> 'r')
            then 'a partition of it is a foreign table'
        when exists (select from pg_partition_ancestors(relation) a join runnel.watched w on w.relation = a.relid and a.relid <> c.oid)
            then 'it is a partition of a table that is watched'
        when exists (select from pg_partition_tree(relation) t join runnel.watched w on w.relation = t.relid and t.relid <> c.oid)
            then 'a partition of it is watched by itself'
    end;
    if why is not null then
        raise exception '% cannot be watched: %', relation, why using errcode = 'RN007';
    end if;
end
$$;

-- The tables that hold the rows.
create function runnel.leaves(relation regclass) returns setof regclass
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select t.relid from pg_partition_tree(relation) t where t.isleaf
    union select c.oid::regclass from pg_class c where c.oid = relation and c.relkind = 'r';
end
$$;

create function runnel.primary_key(relation regclass) returns text[]
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select array_agg(a.attname::text order by k.n)
          from pg_index i
         cross join lateral unnest(i.indkey::int2[]) with ordinality k(attnum, n)
          join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
         where i.indrelid = relation and i.indisprimary and k.n <= i.indnkeyatts);
end
$$;

-- Whether a unique index keeps the key: immediate, deferred, none. Then, and only
-- then, a row is found by its key.
create function runnel.key_uniqueness(relation regclass, fields jsonb, key text[]) returns text
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select coalesce(max(case when i.indimmediate then 'immediate' else 'deferred' end), 'none') -- by the alphabet, the better
          from pg_index i
         where i.indrelid = relation and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
           and (select array_agg(k) from unnest(i.indkey::int2[]) with ordinality u(k, n) where n <= i.indnkeyatts)
            <@ (select array_agg((f ->> 'attnum')::int2) from jsonb_array_elements(runnel.key_fields(fields, key)) f));
end
$$;

-- The condition that finds the row of `alias` by its key in the table named t. The
-- types' own equality, which need not be in pg_catalog; of a domain, that of what
-- it is made of, as its owner may have made another.
create function runnel.same_key_sql(relation regclass, fields jsonb, key text[], alias text) returns text
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select string_agg(coalesce((
                   select format('t.%1$I::%3$s operator(%4$I.%5$s) %2$s.%1$I::%3$s', f ->> 'column', alias, format_type(a.amoplefttype, -1), n.nspname, o.oprname)
                     from pg_index i
                     join lateral unnest(i.indkey::int2[], i.indclass::oid[]) k(attnum, class) on k.attnum = (f ->> 'attnum')::int2
                     join pg_opclass c on c.oid = k.class
                     join pg_amop a on a.amopfamily = c.opcfamily and a.amoplefttype = c.opcintype and a.amoprighttype = c.opcintype and a.amopstrategy = 3
                     join pg_operator o on o.oid = a.amopopr
                     join pg_namespace n on n.oid = o.oprnamespace
                    where i.indrelid = relation and i.indisunique and n.nspname <> 'pg_catalog' limit 1),
                   format('t.%1$I operator(pg_catalog.=) %2$s.%1$I', f ->> 'column', alias)), ' and ')
          from jsonb_array_elements(runnel.key_fields(fields, key)) f);
end
$$;

-- What the fields were worked out from: the table's name, and its columns but
-- those left out (hidden). Labels of enums are looked at value by value.
create function runnel.table_signature(relation regclass, hidden int2[]) returns text
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return concat(relation, ' ', (
        select string_agg(concat_ws(':', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attgenerated), ' ' order by a.attnum)
          from pg_attribute a
         where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and a.attnum <> all (hidden)));
end
$$;

-- The signature's hash, for the trigger function, and not quite immutable: it is
-- meant to be worked out when the expression is planned, once in a session, and
-- again when an ALTER TABLE makes that plan invalid. For that, the expression must
-- hold the table as a constant of type regclass to the end (see trigger_sql).
-- A transaction that reads an old snapshot would read an old catalog, too, for
-- the whole session: it gets no answer.
create function runnel.planned_shape(relation regclass, hidden int2[]) returns text
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('transaction_isolation') in ('read committed', 'read uncommitted') then
        return md5(runnel.table_signature(relation, hidden));
    end if;
    return 'unknown';
end
$$;

-- Works out what the caller may not decide, and writes the table's trigger
-- function. A row of runnel.watched is a wish of the table's owner: nothing in it
-- gets into the function but as a quoted literal.
create function runnel.install_watch() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform runnel.require_watchable(new.relation);
    if tg_op = 'INSERT' then
        new.version := 1;
        new.function := format('watch_%s_%s', left(regexp_replace(
            (select c.relname from pg_class c where c.oid = new.relation), '[^A-Za-z0-9_]', '_', 'g'), 40), left(md5(gen_random_uuid()::text), 8));
        new.fields := runnel.table_fields(new.relation, new.aggregate_type, new.key, new.exclude);
    else
        new.version := old.version + 1;
        new.function := old.function;
        new.fields := runnel.table_fields(new.relation, new.aggregate_type, new.key, new.exclude, old.fields, old.relid);
    end if;
    perform runnel.require_own_names(new.relation, new.fields, new.aggregate_type);
    new.exclude := array(select f ->> 'column' from jsonb_array_elements(new.fields) f where f ? 'excluded');
    new.relid := new.relation;
    new.uniqueness := runnel.key_uniqueness(new.relation, new.fields, new.key);
    new.hidden := array(select (f ->> 'attnum')::int2 from jsonb_array_elements(new.fields) f where f ? 'excluded');
    new.signature := runnel.table_signature(new.relation, new.hidden);
    new.watched_at := now();
    execute runnel.trigger_sql(new);
    execute format('revoke all on function runnel.%I() from public', new.function);
    -- For CREATE TRIGGER, until close_watch.
    execute format('grant execute on function runnel.%I() to %s', new.function,
        (select c.relowner::regrole from pg_class c where c.oid = new.relation));
    return new;
end
$$;

-- Lets nobody put the trigger function on another table, but the owner of a
-- partitioned table: a partition that joins gets the trigger in the owner's name.
-- Anyone may call this.
create function runnel.close_watch(relation regclass) returns void
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    t    pg_class := (select c from pg_class c where c.oid = relation);
    f    pg_proc := (select p from runnel.watched w join pg_proc p on p.proname = w.function and p.pronamespace = 'runnel'::regnamespace
                   where w.relation = close_watch.relation);
    role regrole;
begin
    for role in select a.grantee from aclexplode(f.proacl) a
                 where a.grantee <> f.proowner and not (t.relkind = 'p' and a.grantee = t.relowner) loop
        execute format('revoke all on function %s from %s', f.oid::regprocedure, role);
    end loop;
end
$$;

-- After DROP TRIGGER, or DROP TABLE: nothing hangs on the function any more.
create function runnel.remove_watch() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    execute format('drop function if exists runnel.%I()', old.function);
    return null;
end
$$;

create trigger a_table_owner before insert or update or delete on runnel.watched
    for each row execute function runnel.require_table_owner();
create trigger b_install before insert or update on runnel.watched
    for each row execute function runnel.install_watch();
create trigger remove after delete on runnel.watched
    for each row execute function runnel.remove_watch();

revoke all on table runnel.watched, runnel.watch_secret from public;
revoke all on all functions in schema runnel from public;

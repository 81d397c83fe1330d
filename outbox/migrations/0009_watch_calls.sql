-- What people call: watch, unwatch, and what the CLI and the doctor ask.
--
-- Run watch and unwatch as the table's owner (or a superuser), who must be a
-- member of the writer role. They run as their caller, as no other may put a
-- trigger on the table; the reader (runnel.read_rows) gets SELECT on the columns that
-- are published, and no others, for TRUNCATE and for triggers within triggers.

-- Refuses to publish what the daemon would not know.
create function runnel.require_registered(relation regclass) returns void
    language plpgsql stable security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    w   runnel.watched := (select w from runnel.watched w where w.relation = require_registered.relation);
    bad record;
    how text := format('Write the schema: runnel schemas gen avsc --from-table %s --aggregate %s --key %s%s%s --out DIR',
        runnel.shell_word(relation::text), runnel.shell_word(w.aggregate_type), runnel.flag_names(w.key),
        case when w.before then ' --before' end, ' --exclude ' || runnel.flag_names(w.exclude));
    then_what text := '. Make it known: runnel schemas plan, then runnel schemas apply. Then watch.';
begin
    if not exists (select from runnel.event_type) then
        raise warning 'no event types are registered: unless the daemon knows those of table %, it halts at the first change', relation
            using errcode = 'RN001', hint = how || then_what;
        return;
    end if;
    select a.name, exists (select from runnel.event_type t where t.name = a.name and t.aggregate_type = w.aggregate_type) as known into bad
      from runnel.table_avro(w.fields, w.aggregate_type, w.key, w.before, null) a
     where a.normalised is not null
       and not exists (select from runnel.event_type t where t.name = a.name and t.aggregate_type = w.aggregate_type
                          and t.fingerprint = sha256(convert_to(a.normalised, 'UTF8')))
     order by known limit 1;
    if not found then
        return;
    elsif not bad.known then
        raise exception 'event type "%" of aggregate type "%" is not registered', bad.name, w.aggregate_type
            using errcode = 'RN001', hint = how || then_what;
    end if;
    raise exception 'the schema that is registered for event type "%" is not the one of table %', bad.name, relation
        using errcode = 'RN002', hint = how || ' --force' || then_what || ' If the file was changed by hand and the rows still fit: check_schema => false.';
end
$$;

-- Lets the role that reads (runnel.read_rows) read what is published.
create function runnel.grant_reading(w runnel.watched) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    reader  oid := (select p.proowner from pg_proc p where p.oid = 'runnel.read_rows'::regproc);
    home    pg_namespace := (select n from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = w.relation);
    -- tableoid: see watch_truncated.
    columns text := (select string_agg(quote_ident(f ->> 'column') || ', ', '') || 'tableoid' from jsonb_array_elements(w.fields) f where not f ?| array['excluded', 'retired']);
    part    regclass;
begin
    if not has_schema_privilege(reader, home.oid, 'USAGE') then
        if not pg_has_role(current_user, home.nspowner, 'USAGE') then
            raise exception 'role % may not use schema %', reader::regrole, quote_ident(home.nspname)
                using errcode = '42501', hint = format('As the owner of the schema: grant usage on schema %I to %s;', home.nspname, reader::regrole);
        end if;
        execute format('grant usage on schema %I to %s', home.nspname, reader::regrole);
    end if;
    for part in select w.relation union select runnel.leaves(w.relation) loop
        continue when (select c.relowner from pg_class c where c.oid = part) = reader;
        execute format('revoke select on %s from %s', part, reader::regrole); -- of columns left out since
        execute format('grant select (%s) on %s to %s', columns, part, reader::regrole);
    end loop;
end
$$;

-- Puts the triggers on the table that lack: on the table for each row (Postgres
-- puts it on all partitions, those that join too), and for TRUNCATE on each
-- partition, as a truncate of one does not fire the root's.
--
-- What was lost while one for each row was not there or disabled, publish_rows finds
-- by its oid: it is made anew (runnel.first_state).
--
-- They fire ALWAYS: rows that a subscription or a restore under
-- session_replication_role = replica writes are published as all others.
create function runnel.put_triggers(w runnel.watched) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    function regprocedure := format('runnel.%I()', w.function)::regprocedure;
    part     regclass;
begin
    -- Of a partition, it may be disabled alone.
    if exists (select w.relation union select runnel.leaves(w.relation) except
               select t.tgrelid from pg_trigger t where t.tgname = 'runnel_watch' and t.tgfoid = function and t.tgenabled = 'A') then
        if exists (select from pg_trigger t where t.tgrelid = w.relation and t.tgname = 'runnel_watch') then
            execute format('drop trigger runnel_watch on %s', w.relation);
        end if;
        execute format('create trigger runnel_watch after insert or update or delete on %s for each row execute function %s', w.relation, function);
        execute format('alter table %s enable always trigger runnel_watch', w.relation);
    end if;
    for part in select w.relation union select runnel.leaves(w.relation) loop
        if not exists (select from pg_trigger t where t.tgrelid = part and t.tgname = 'runnel_watch_truncate' and t.tgfoid = function and t.tgenabled = 'A') then
            if exists (select from pg_trigger t where t.tgrelid = part and t.tgname = 'runnel_watch_truncate') then
                execute format('drop trigger runnel_watch_truncate on %s', part);
            end if;
            execute format('create trigger runnel_watch_truncate before truncate on %s for each statement execute function %s', part, function);
            execute format('alter table only %s enable always trigger runnel_watch_truncate', part);
        end if;
    end loop;
end
$$;

-- Starts to watch a table; once more, it takes the table's columns as they are now
-- (docs/watched-tables.md). Existing rows: runnel.publish_rows.
--   aggregate     the aggregate type: events are <Aggregate>Changed and <Aggregate>Deleted
--   key           columns that make the aggregate id; the primary key by default
--   before        whether events hold the row as it was; not by default
--   exclude       columns that are left out; none by default
--   max_bytes     of an event; by default what a broker with default settings admits
--   check_schema  whether the registered schema must be the table's
create function runnel.watch(
    relation regclass, aggregate text, key text[], before boolean default null, exclude text[] default null,
    max_bytes integer default null, check_schema boolean default true
) returns text
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    old    runnel.watched;
    w      runnel.watched;
    reader oid := (select p.proowner from pg_proc p where p.oid = 'runnel.read_rows'::regproc);
    waits  text := current_setting('lock_timeout');
    prefix text;
begin
    if relation is null then
        raise exception 'runnel.watch: the table is missing' using errcode = 'RN004';
    end if;
    perform runnel.require_watchable(relation);
    select * into old from runnel.watched o where o.relation = watch.relation;
    if found then
        if aggregate <> old.aggregate_type
           or key <> old.key and key <> array(select f ->> 'column' from jsonb_array_elements(runnel.key_fields(old.fields, old.key)) f) then
            raise exception 'table % is watched already, as aggregate % with key %', relation, old.aggregate_type, array_to_string(old.key, ', ')
                using errcode = 'RN010', hint = format('To begin anew: select runnel.unwatch(%L);', relation);
        end if;
        if old.before and not before then
            raise exception 'table % is watched with the row as it was: events under way hold the field before, which must stay', relation
                using errcode = 'RN010', hint = format('To begin anew: select runnel.unwatch(%L); and runnel.watch once all its events are published.', relation);
        end if;
        update runnel.watched u
           set before = coalesce(watch.before, u.before), exclude = watch.exclude, max_bytes = coalesce(watch.max_bytes, u.max_bytes)
         where u.relation = watch.relation;
    else
        if aggregate is null or aggregate !~ '^[A-Za-z][A-Za-z0-9_.-]*$' or octet_length(aggregate) > 180 then
            raise exception 'runnel.watch: aggregate must be a name of at most 180 letters, digits, _, - and ., a letter first' using errcode = 'RN004';
        end if;
        key := coalesce(key, runnel.primary_key(relation));
        if coalesce(cardinality(key), 0) = 0 or array_position(key, null) is not null then
            raise exception 'table % has no primary key', relation
                using errcode = 'RN007', hint = 'Name the columns that tell its rows apart: key => ''id'', or key => array[''a'', ''b''].';
        end if;
        -- Tables that are gone leave their aggregates.
        delete from runnel.watched g
         where runnel.pascal(g.aggregate_type) = runnel.pascal(aggregate) and not exists (select from pg_class c where c.oid = g.relation);
        select * into old from runnel.watched o where runnel.pascal(o.aggregate_type) = runnel.pascal(aggregate);
        if found then
            raise exception 'table % is watched as aggregate % already', old.relation, old.aggregate_type
                using errcode = 'RN010', hint = 'Every watched table has an aggregate of its own.';
        end if;
        insert into runnel.watched (relation, aggregate_type, key, before, exclude, max_bytes)
        values (relation, aggregate, key, coalesce(before, false), coalesce(exclude, '{}'), coalesce(max_bytes, 5232640));
    end if;
    select * into w from runnel.watched n where n.relation = watch.relation;
    if old.fields <> w.fields then -- what was published of the first state is of another shape
        delete from runnel.first_state f where f.relation = watch.relation and f.finished_at is not null;
        update runnel.first_state f set leaf = null, done = '{}', waiting = '{}', next_block = 0, end_block = 0, rows = 0 where f.relation = watch.relation;
    end if;
    if check_schema then
        perform runnel.require_registered(relation);
    end if;
    if w.uniqueness = 'none' then
        raise warning 'no unique index keeps the key (%) of table %: rows of one key are one aggregate, and the last change wins',
            array_to_string(w.key, ', '), relation;
    end if;
    if (select c.relrowsecurity from pg_class c where c.oid = relation)
       and not (select r.rolbypassrls or r.rolsuper from pg_roles r where r.oid = reader) then
        if w.uniqueness = 'deferred' then -- each change reads the table
            raise exception 'table % has row security and a deferrable key: every change would be refused', relation
                using errcode = 'RN007', hint = format('ALTER ROLE %s BYPASSRLS; or make the key not deferrable.', reader::regrole);
        end if;
        raise warning 'table % has row security: a TRUNCATE, and a change of a table that its own triggers have changed in the same statement, will be refused', relation
            using hint = format('ALTER ROLE %s BYPASSRLS;', reader::regrole);
    end if;
    if waits in ('0', '0ms') then -- writers queue behind a lock that is waited for
        perform set_config('lock_timeout', '5s', true);
    end if;
    perform runnel.grant_reading(w);
    perform runnel.put_triggers(w);
    perform runnel.close_watch(relation);
    perform set_config('lock_timeout', waits, true);
    prefix := runnel.pascal(w.aggregate_type);
    return format('%s: events %sChanged and %sDeleted of aggregate %s, id from %s', relation, prefix, prefix, w.aggregate_type, array_to_string(w.key, ', '));
end
$$;

create function runnel.watch(
    relation regclass, aggregate text default null, key text default null, before boolean default null, exclude text[] default null,
    max_bytes integer default null, check_schema boolean default true
) returns text
    language sql
    set search_path = pg_catalog, pg_temp
as $$
    select runnel.watch(relation, aggregate, case when key is not null then array[key] end, before, exclude, max_bytes, check_schema)
$$;
comment on function runnel.watch(regclass, text, text, boolean, text[], integer, boolean) is
    'Publishes an event for every row of a table that changes from now on. Run it as the table''s owner.';
comment on function runnel.watch(regclass, text, text[], boolean, text[], integer, boolean) is
    'Publishes an event for every row of a table that changes from now on. Run it as the table''s owner.';

-- Stops to watch a table. False: it was not watched.
create function runnel.unwatch(relation regclass) returns boolean
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    reader oid := (select p.proowner from pg_proc p where p.oid = 'runnel.read_rows'::regproc);
    waits  text := current_setting('lock_timeout');
    part   regclass;
    name   text;
begin
    if not exists (select from runnel.watched w where w.relation = unwatch.relation) then
        return false;
    end if;
    if waits in ('0', '0ms') then
        perform set_config('lock_timeout', '5s', true);
    end if;
    -- Wherever the triggers are: on partitions that were detached, too. Dropping
    -- that of each row drops those that came from it.
    for part, name in
        select t.tgrelid, t.tgname from runnel.watched w join pg_proc p on p.proname = w.function and p.pronamespace = 'runnel'::regnamespace
          join pg_trigger t on t.tgfoid = p.oid and t.tgparentid = 0
         where w.relation = unwatch.relation
    loop
        execute format('drop trigger %I on %s', name, part);
        if (select c.relowner from pg_class c where c.oid = part) <> reader then
            execute format('revoke select on %s from %s', part, reader::regrole);
        end if;
    end loop;
    delete from runnel.first_state f where f.relation = unwatch.relation;
    delete from runnel.watched w where w.relation = unwatch.relation;
    perform set_config('lock_timeout', waits, true);
    return true;
end
$$;
comment on function runnel.unwatch(regclass) is 'Stops what runnel.watch started. Run it as the table''s owner.';

-- The Avro types of a table's events, as text of .avsc files: of a watched table
-- as watch, called again, would have them. Changes nothing, and reads no rows.
create function runnel.table_schemas(
    relation regclass, aggregate text default null, key text[] default null, before boolean default null, exclude text[] default null,
    out name text, out definition text, out fingerprint bytea
) returns setof record
    language plpgsql stable security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    w      runnel.watched := (select w from runnel.watched w where w.relation = table_schemas.relation);
    fields jsonb;
    a      record;
begin
    if w.relation is null then
        perform runnel.require_watchable(relation);
    end if;
    aggregate := coalesce(aggregate, w.aggregate_type);
    key := coalesce(key, w.key, runnel.primary_key(relation));
    if aggregate is null or aggregate !~ '^[A-Za-z][A-Za-z0-9_.-]*$' then
        raise exception 'table % is not watched yet: its aggregate must be given, a name with a letter first', relation using errcode = 'RN004';
    elsif w.relation is not null and (aggregate <> w.aggregate_type or key <> w.key) then
        raise exception 'table % is watched already, as aggregate % with key %', relation, w.aggregate_type, array_to_string(w.key, ', ')
            using errcode = 'RN010';
    elsif coalesce(cardinality(key), 0) = 0 then
        raise exception 'table % has no primary key', relation
            using errcode = 'RN007', hint = 'Name the columns that tell its rows apart.';
    end if;
    fields := runnel.table_fields(relation, aggregate, key, case when w.relation is null then coalesce(exclude, '{}') else exclude end, w.fields, w.relid);
    perform runnel.require_own_names(relation, fields, aggregate);
    for a in select * from runnel.table_avro(fields, aggregate, key, coalesce(before, false) or coalesce(w.before, false), obj_description(relation, 'pg_class')) loop
        name := a.name;
        definition := a.definition;
        fingerprint := sha256(convert_to(a.normalised, 'UTF8'));
        return next;
    end loop;
end
$$;

-- What is wrong with a watch, for the doctor. fatal: events are missing or refused.
create function runnel.watch_problems(relation regclass, out fatal boolean, out problem text, out remedy text) returns setof record
    language plpgsql stable security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    w    runnel.watched := (select w from runnel.watched w where w.relation = watch_problems.relation);
    c    record;
    part regclass;
    role regrole;
    lost text := 'select runnel.watch(%1$L); call runnel.publish_rows(%1$L); -- rows deleted meanwhile stay in copies until they are rebuilt';
begin
    fatal := true;
    if not exists (select from pg_class k where k.oid = w.relation) then
        problem := format('table %s (aggregate %s) was dropped', relation, w.aggregate_type);
        remedy := format('select runnel.unwatch(%L);', relation);
        return next;
        return;
    end if;
    begin
        perform runnel.require_watchable(relation);
    exception when sqlstate 'RN007' then
        problem := sqlerrm;
        remedy := format('Change it back, or: select runnel.unwatch(%L);', relation);
        return next;
    end;
    for part in select w.relation union select runnel.leaves(w.relation) loop
        if not exists (select from pg_trigger t join pg_proc p on p.oid = t.tgfoid
                        where t.tgrelid = part and t.tgname = 'runnel_watch' and p.proname = w.function and t.tgenabled = 'A') then
            problem := format('the trigger runnel_watch of table %s is gone, or disabled: its changes are not published', part);
            remedy := format(lost, relation);
            return next;
        elsif not exists (select from pg_trigger t join pg_proc p on p.oid = t.tgfoid
                        where t.tgrelid = part and t.tgname = 'runnel_watch_truncate' and p.proname = w.function and t.tgenabled = 'A') then
            problem := format('table %s has no trigger for TRUNCATE: it may have joined as a partition', part);
            remedy := format(lost, relation);
            return next;
        end if;
    end loop;
    for c in select * from runnel.watch_changes(relation) v where v.effect is not null loop
        fatal := c.effect in ('missing', 'narrowed', 'refused', 'rekeyed');
        problem := format('table %s was altered: %s', relation, c.message);
        if c.effect = 'missing' and not c.field ? 'reason' then
            problem := format('%s; %sRow needs %s', problem, runnel.pascal(w.aggregate_type), (runnel.record_fields(jsonb_build_array(c.field), false, '{}')).result);
        end if;
        remedy := case
            when c.effect = 'missing' and c.field ? 'reason' then
                format('Change the column, or leave it out: select runnel.watch(%L, exclude => %L);', relation, w.exclude || (c.field ->> 'column'))
            when fatal then runnel.watch_remedy(relation)
            else format('select runnel.watch(%L);', relation) end;
        return next;
    end loop;
    if not has_any_column_privilege((select p.proowner from pg_proc p where p.oid = 'runnel.read_rows'::regproc), w.relation, 'SELECT') then
        fatal := true;
        problem := format('the role that reads table %s for a TRUNCATE may not', relation);
        remedy := format('select runnel.watch(%L);', relation);
        return next;
    end if;
    for role in select a.grantee from pg_class k, pg_proc p, aclexplode(p.proacl) a
                 where k.oid = w.relation and p.proname = w.function and p.pronamespace = 'runnel'::regnamespace
                   and a.grantee not in (p.proowner, k.relowner) loop
        fatal := false;
        problem := format('table %s has another owner now, but role %s may still use its trigger function', relation, role);
        remedy := format('As the owner: select runnel.watch(%L);', relation);
        return next;
    end loop;
    if relation <> w.relid then
        fatal := false;
        problem := format('table %s has another oid than when it was watched: the database was restored from a dump', relation);
        remedy := format('select runnel.watch(%L);', relation);
        return next;
    elsif w.uniqueness <> 'none' and runnel.key_uniqueness(relation, w.fields, w.key) = 'none' then
        fatal := true;
        problem := format('no unique index keeps the key of table %s any more (%s)', relation, array_to_string(w.key, ', '));
        remedy := format('Make the index again; or accept that the last change of a key wins: select runnel.watch(%L);', relation);
        return next;
    end if;
end
$$;

revoke all on all functions in schema runnel from public;

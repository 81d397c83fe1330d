-- What is read from watched tables within a statement of a service's: the row that
-- has a key now, when events may be out of order, and the rows that a TRUNCATE takes.
--
-- To plan a query Postgres may run functions that are the table owner's: those of its
-- indexes, declared IMMUTABLE. So read_kept and read_rows belong to a role of their
-- own, the reader (grants.go), that may read the tables and do nothing else. It could
-- still alter the functions that it owns, but not what they say: require_reader.

-- What row security hides would be missing from the events; and its policies are
-- code of the table's owner, who must not run it with the reader's rights.
create function runnel.require_all_rows(relation regclass) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if row_security_active(relation) then
        raise exception 'row security hides rows of table % from %', relation, current_user
            using errcode = 'RN008', hint = format('To truncate it, to change it from within its own triggers, and to publish its first state, all rows must be seen: ALTER ROLE %I BYPASSRLS.', current_user);
    end if;
end
$$;

-- Refuses to read when someone has altered the functions that read: they would run
-- with the rights of our owner, who calls them, or find other functions than these.
create function runnel.require_reader() returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if exists (select from pg_proc p
                where p.oid in ('runnel.read_rows'::regproc, 'runnel.read_kept'::regproc)
                  and not (p.prosecdef and p.proowner = (select r.oid from pg_roles r where r.rolname = current_user)
                           and p.proconfig @> array['search_path=pg_catalog, pg_temp', 'row_security=off', 'extra_float_digits=1'])) then
        raise exception 'runnel.read_rows or runnel.read_kept was altered' using errcode = '42501', hint = 'Run `runnel init`.';
    end if;
end
$$;

-- All that is read from watched tables within a statement of the service's is read
-- here: a row that query finds by the key of alike, and the rows of a whole table.
-- row_security = off: policies that come after the look at them are an error.
create function runnel.read_kept(relation regclass, query text, alike anyelement, out kept text, out size bigint)
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp set row_security = off set extra_float_digits = 1
as $$
begin
    perform runnel.require_reader();
    perform runnel.require_all_rows(relation);
    execute query into kept, size using alike;
end
$$;

create function runnel.read_rows(relation regclass, query text) returns table (id text, key text, before text, size bigint)
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp set row_security = off set extra_float_digits = 1
as $$
begin
    perform runnel.require_reader();
    perform runnel.require_all_rows(relation);
    return query execute query;
end
$$;

-- BEFORE TRUNCATE of a table: an event for each row that goes. The root of a
-- partitioned table stands in for partitions that have no trigger of their own;
-- those that have one are truncated with theirs.
create function runnel.watch_truncated(called name, truncated oid) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    w      runnel.watched := (select w from runnel.watched w where w.function = called);
    fields jsonb;
    leaf   regclass;
    source regclass;
    query  text;
begin
    if w is null then
        perform runnel.watch_check(called, 0, 'unknown', truncated); -- says so
    end if;
    if truncated <> w.relation and not exists (select from runnel.leaves(w.relation) l where l = truncated) then
        return; -- a partition no more
    elsif current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
        raise exception 'table % is watched, and a TRUNCATE at isolation level % does not see all the rows that go', w.relation, upper(current_setting('transaction_isolation'))
            using errcode = 'RN008', hint = 'Truncate it at READ COMMITTED; or DELETE the rows.';
    end if;
    if exists (select from runnel.watch_changes(w.relation) c where c.effect = 'rekeyed') then
        perform runnel.watch_check(called, w.version, 'unknown', truncated); -- says so
    end if;
    select jsonb_agg(c.field) into fields from runnel.watch_changes(w.relation) c where c.field is not null and c.effect is distinct from 'missing';
    for leaf in
        select l from runnel.leaves(truncated) l
         where l = truncated or not exists (select from pg_trigger t where t.tgrelid = l and t.tgname = 'runnel_watch_truncate')
         order by l::oid
    loop
        -- Rights on the root are none on a partition that was attached later, but
        -- let its rows be read through the root.
        source := case when (select bool_and(has_column_privilege((select p.proowner from pg_proc p where p.oid = 'runnel.read_rows'::regproc), leaf, f ->> 'column', 'SELECT'))
                               from jsonb_array_elements(fields) f where not f ?| array['excluded', 'retired'])
            then leaf else w.relation end;
        query := format('select %s, %s, %s, %s from %s', runnel.id_sql(w.relation::text, fields, w.key, 't', false), runnel.key_sql(w.relation::text, fields, w.key, 't'),
            case when w.before then ''',"before":'' || ' || runnel.before_sql(w.relation::text, fields, runnel.pascal(w.aggregate_type), 't') else 'null::text' end,
            case when w.before then runnel.size_sql(fields, 't') else '0::bigint' end,
            case when source = leaf then format('only %s t', leaf) else format('%s t where t.tableoid = %s', source, leaf::oid) end);
        insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload)
        select w.aggregate_type, e.id, runnel.pascal(w.aggregate_type) || 'Deleted', 2,
               runnel.event_payload(w.relation::text, e.id, concat('{"key":', e.key, e.before, '}'), octet_length(e.key) + e.size, w.max_bytes)
          from runnel.read_rows(source, query) e
         where octet_length(e.id) between 1 and 1024 and e.key is not null; -- no other was ever published
    end loop;
end
$$;

revoke all on all functions in schema runnel from public;

-- The trigger function of a watched table, and what it calls when it cannot go
-- the short way.

-- What became of the fields since they were recorded. slow: the trigger function,
-- which names columns and expects types, cannot run as it is written. The fields
-- as they can be filled now, and (effect missing) those that could join; no field
-- for what is of the whole table.
--   missing   the column is not in the events
--   null      the column is gone, the field is null
--   renamed, retyped   to another name, another type of the same Avro type
--   narrowed  values that the field does not hold are refused: NULL, a new label, a larger number
--   refused   every change of a row is
create function runnel.watch_changes(
    relation regclass, out field jsonb, out effect text, out slow boolean, out message text
) returns setof record
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    w       runnel.watched := (select w from runnel.watched w where w.relation = watch_changes.relation);
    columns jsonb := runnel.table_columns(relation, w.aggregate_type);
    by_name jsonb := (select coalesce(jsonb_object_agg(value ->> 'column', value), '{}') from jsonb_each(columns));
    f       jsonb;
    c       jsonb;
    was     text;
    is_now  text;
begin
    if not starts_with(w.signature, concat(relation, ' ')) then
        effect := 'renamed';
        slow := true; -- its own queries do not find it
        message := format('the table was called %s', (regexp_match(w.signature, '^(.*?) [0-9]+:'))[1]);
        return next;
    end if;
    for f in select value from jsonb_array_elements(w.fields) loop
        c := case when relation = w.relid then columns -> (f ->> 'attnum') else by_name -> (f ->> 'column') end;
        columns := columns - coalesce(c ->> 'attnum', '');
        continue when f ? 'excluded';
        field := f;
        effect := null;
        slow := false;
        message := null;
        if f ? 'retired' then
            return next;
            continue;
        elsif c is null then
            slow := true;
            field := f || '{"retired": true}';
            effect := case when (f ->> 'nullable')::boolean then 'null' else 'refused' end;
            message := format('column %I is gone, and field %s %s', f ->> 'column', f ->> 'name',
                case effect when 'null' then 'is null from now on' else 'cannot be null' end);
            return next;
            continue;
        end if;
        field := f || jsonb_build_object('column', c -> 'column');
        was := runnel.field_type(f || '{"nullable": false, "enum": ""}', true);
        is_now := runnel.field_type(c || '{"nullable": false, "enum": ""}', true);
        if c ? 'reason' then
            effect := 'refused';
            message := format('column %I cannot be published any more: %s', c ->> 'column', c ->> 'reason');
        elsif was <> is_now and f ->> 'kind' = 'int' and c ->> 'kind' = 'long' and not f ? 'array' and not c ? 'array' then
            effect := 'narrowed';
            slow := true;
            field := field || '{"fit": "int"}';
            message := format('column %I is wider now: numbers beyond 32 bits are refused', c ->> 'column');
        elsif was <> is_now and f ->> 'kind' = 'decimal' and c ->> 'kind' = 'decimal' and not f ? 'array' and not c ? 'array' then
            effect := 'narrowed';
            slow := true;
            field := field || '{"fit": "decimal"}';
            message := format('column %I is of another precision now: numbers that decimal(%s,%s) does not hold are refused',
                c ->> 'column', f ->> 'precision', f ->> 'scale');
        elsif was <> is_now and f ->> 'kind' = 'enum' and c ->> 'kind' = 'enum' and f ? 'array' = c ? 'array' then
            effect := 'narrowed';
            message := format('column %I has other labels now: those that are not in the schema are refused', c ->> 'column');
        elsif was <> is_now then
            effect := 'refused';
            message := format('column %I is of another type now: %s, not %s', c ->> 'column', is_now, was);
        elsif f -> 'typid' <> c -> 'typid' then
            effect := 'retyped';
            slow := true;
            message := format('column %I is of another type now, which is the same in the events', c ->> 'column');
        end if;
        if effect is null and f ->> 'column' <> c ->> 'column' then
            effect := 'renamed';
            message := format('column %I is called %I now; its field stays %s', f ->> 'column', c ->> 'column', f ->> 'name');
        elsif effect is null and not (f ->> 'nullable')::boolean and (c ->> 'nullable')::boolean and not f ->> 'name' = any (w.key) then
            effect := 'narrowed';
            message := format('column %I may be NULL now: rows where it is are refused', c ->> 'column');
        end if;
        slow := slow or f ->> 'column' <> c ->> 'column';
        return next;
    end loop;
    for c in select value from jsonb_each(columns) order by (value ->> 'attnum')::integer loop
        field := c || jsonb_build_object('name', c -> 'column', 'nullable', true);
        effect := 'missing';
        slow := false;
        message := format('column %I has joined and is not in the events%s', c ->> 'column', ': ' || (c ->> 'reason'));
        return next;
    end loop;
end
$$;

-- A setting of the session that only we can write: NULL, unless it is signed.
create function runnel.get_signed(setting text) returns text
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    held text := current_setting(setting, true);
begin
    if held is not null and left(held, 64) = encode(sha256(convert_to(concat((select secret from runnel.watch_secret), setting, substr(held, 65)), 'UTF8')), 'hex') then
        return substr(held, 65);
    end if;
    return null;
end
$$;

create function runnel.set_signed(setting text, value text) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform set_config(setting, encode(sha256(convert_to(concat((select secret from runnel.watch_secret), setting, value), 'UTF8')), 'hex') || value, false);
end
$$;

-- Called when the table may not be as it was when the trigger function was written
-- (in this version). NULL: the function may go on as it is. Else a tag of what the
-- table is like now, with which the slow way is taken. Warns once in a session.
create function runnel.watch_check(called name, written integer, shape text, leaf oid) returns text
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    seen_at text := format('runnel.%s_seen', called); -- what this session has found out: tag, and whether it is slow
    mark_at text := format('runnel.%s_mark', called); -- of this statement, where the shape is unknown: what was returned
    stamp   text := concat(pg_current_xact_id(), ' ', statement_timestamp(), ' ');
    seen    text;
    tag     text;
    result  text;
    w       record;
    why     record;
begin
    if shape = 'unknown' then
        seen := runnel.get_signed(mark_at);
        if starts_with(seen, stamp) then
            return nullif(substr(seen, length(stamp) + 1), '');
        end if;
        select md5(runnel.table_signature(g.relation, g.hidden)) into shape from runnel.watched g where g.function = called;
    else
        stamp := null;
    end if;
    tag := md5(concat(written, shape));
    seen := runnel.get_signed(seen_at);
    if seen is null or left(seen, 32) <> tag then
        select g.relation, md5(g.signature) <> shape as altered into w from runnel.watched g where g.function = called;
        if not found then
            raise exception 'the trigger of table % is of a watch that is gone', leaf::regclass
                using errcode = 'RN010', hint = format('drop trigger runnel_watch on %s; then runnel.watch again.', leaf::regclass);
        end if;
        select coalesce(bool_or(c.slow), false) as slow, max(c.message) filter (where c.effect = 'refused') as refused,
               string_agg(c.message, '; ') as all_of_it into why
          from runnel.watch_changes(w.relation) c where w.altered;
        if why.refused is not null then
            raise exception 'table % was altered, and its events cannot be filled: %', w.relation, why.refused
                using errcode = 'RN009', hint = runnel.watch_remedy(w.relation);
        elsif why.all_of_it is not null then
            raise warning 'table % was altered since runnel.watch: %', w.relation, why.all_of_it
                using errcode = 'RN009', hint = runnel.watch_remedy(w.relation);
        end if;
        seen := tag || why.slow::text;
        perform runnel.set_signed(seen_at, seen);
    end if;
    result := case when substr(seen, 33) = 'true' then tag end;
    if stamp is not null then
        perform runnel.set_signed(mark_at, concat(stamp, result));
    end if;
    return result;
end
$$;

create function runnel.watch_remedy(relation regclass) returns text
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select format('Write the new schema: runnel schemas gen avsc --from-table %s --out DIR --force. Make it known: start the daemon with it (runnel run --auto-apply), or runnel init --schemas DIR. '
            'Then: select runnel.watch(%L); call runnel.publish_rows(%1$L);', relation, relation));
end
$$;

-- The SQL that reads a row by the columns as they are now. which: new and old are
-- rows of the trigger ($1), kept is the row that the table holds under $1's key.
-- The session keeps it for as long as the tag is the same.
create function runnel.slow_sql(called name, tag text, which text) returns text
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    setting text := format('runnel.%s_%s', called, which);
    kept    text := runnel.get_signed(setting);
    w       runnel.watched;
    fields  jsonb;
    name    text;
begin
    if left(kept, 32) = tag then
        return substr(kept, 33);
    end if;
    select * into w from runnel.watched g where g.function = called;
    select jsonb_agg(c.field) into fields from runnel.watch_changes(w.relation) c where c.field is not null and c.effect is distinct from 'missing';
    name := w.relation::text;
    kept := tag || case which
        when 'new' then format('select %s, %s from (select ($1).*) t',
            runnel.id_sql(name, fields, w.key, 't', true), runnel.row_sql(name, fields, 't', true))
        when 'old' then format('select %s, %s, %s from (select ($1).*) t', runnel.id_sql(name, fields, w.key, 't', false),
            runnel.key_sql(name, fields, w.key, 't'), runnel.before_sql(name, fields, runnel.pascal(w.aggregate_type), 't'))
        when 'kept' then format('select %s from %s t, (select ($1).*) k where %s',
            runnel.row_sql(name, fields, 't', true), name, runnel.same_key_sql(w.relation, fields, w.key, 'k'))
    end;
    perform runnel.set_signed(setting, kept);
    return substr(kept, 33);
end
$$;

-- What row security hides would be missing from the events.
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

create function runnel.refuse_id(relation text, id text) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'table % is watched, and a row''s key has % bytes as text; events admit 1 to 1024', relation, octet_length(id)
        using errcode = 'RN008';
end
$$;

create function runnel.check_size(relation text, id text, size bigint, max_bytes integer) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if size > max_bytes then
        raise exception 'table % is watched, and the event of row % may have % bytes; % are admitted', relation, id, size, max_bytes
            using errcode = 'RN008',
                  hint = 'The broker refuses larger messages. Leave the large column out (exclude); or raise maxMessageSize on the brokers, and max_bytes of runnel.watch with it.';
    end if;
end
$$;

-- A payload that was made outside of the trigger function, as the outbox takes it.
create function runnel.event_payload(relation text, id text, payload text, size bigint, max_bytes integer) returns bytea
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if octet_length(id) not between 1 and 1024 then
        perform runnel.refuse_id(relation, id);
    end if;
    perform runnel.check_size(relation, id, size, max_bytes);
    return convert_to(payload, 'UTF8');
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
    source text;
begin
    if w is null then
        perform runnel.watch_check(called, 0, 'unknown', truncated); -- says so
    end if;
    if truncated <> w.relation and not exists (select from runnel.leaves(w.relation) l where l = truncated) then
        return; -- a partition no more
    end if;
    perform runnel.require_all_rows(w.relation);
    select jsonb_agg(c.field) into fields from runnel.watch_changes(w.relation) c where c.field is not null and c.effect is distinct from 'missing';
    for leaf in
        select l from runnel.leaves(truncated) l
         where l = truncated or not exists (select from pg_trigger t where t.tgrelid = l and t.tgname = 'runnel_watch_truncate')
         order by l::oid
    loop
        -- Rights on the root are none on a partition that was attached later, but
        -- let its rows be read through the root.
        source := case when (select bool_and(has_column_privilege(leaf, f ->> 'column', 'SELECT'))
                               from jsonb_array_elements(fields) f where not f ?| array['excluded', 'retired'])
            then format('only %s t', leaf) else format('%s t where t.tableoid = %s', w.relation, leaf::oid) end;
        execute format('insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload)
            select %1$L, e.id, %2$L, 2, runnel.event_payload(%3$L, e.id, concat(''{"key":'', e.key, e.before, ''}''), e.size, %4$s)
              from (select %5$s as id, %6$s as key, %7$s as before, %8$s as size from %9$s) e
             where octet_length(e.id) between 1 and 1024 and e.key is not null -- no other was ever published',
            w.aggregate_type, runnel.pascal(w.aggregate_type) || 'Deleted', w.relation, w.max_bytes,
            runnel.id_sql(w.relation::text, fields, w.key, 't', false), runnel.key_sql(w.relation::text, fields, w.key, 't'),
            case when w.before then ''',"before":'' || ' || runnel.before_sql(w.relation::text, fields, runnel.pascal(w.aggregate_type), 't')
                else 'null::text' end,
            runnel.size_sql(fields, 't'), source);
    end loop;
end
$$;

-- The text of a table's trigger function. What was never published, as its key is
-- none for an event, is not told to be deleted either.
create function runnel.trigger_sql(w runnel.watched) returns text
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $sql$
declare
    name   text := w.relation::text;
    prefix text := runnel.pascal(w.aggregate_type);
    -- Floating point may take more room in Avro than in JSON.
    floats boolean := w.fields @? '$[*] ? (@.kind == "float" || @.kind == "double")';
    body   text;
begin
    -- 1 function, 2 table, 3 aggregate, 4 Changed, 5 Deleted, 6 id of new, 7 of old,
    -- 8 row of new, 9 row of t, 10 key of old, 11 most bytes, 12 where to begin to
    -- count, 13 size of new, 14 of old, 15 and 16 t has the key of new, of old,
    -- 17 uniqueness, 18 row of old as JSON, 19 member of the payload, 20 for an update,
    -- 21 version, 22 shape, 23 oid, 24 hidden columns
    body := format($body$
declare
    -- Planned, the first is a constant; the second is there to be invalidated.
    shape   text := case when pg_relation_filenode(%23$L::regclass) is distinct from 0 then runnel.planned_shape(%23$L::regclass, %24$L) end;
    slow    text;
    careful boolean := %17$L = 'deferred';
    old_id  text;
    old_key text;
    old_row text;
    new_id  text;
    new_row text;
    kept    text;
    payload text;
begin
    if tg_op = 'TRUNCATE' then
        perform runnel.watch_truncated(%1$L, tg_relid);
        return null;
    end if;
    if shape <> %22$L then
        slow := runnel.watch_check(%1$L, %21$s, shape, tg_relid);
    end if;
    if pg_trigger_depth() > 1 then
        perform set_config('runnel.%1$s_nested', pg_current_xact_id()::text, true);
    end if;
    if %17$L = 'immediate' and current_setting('runnel.%1$s_nested', true) = pg_current_xact_id()::text then
        careful := true;
    end if;
    if careful then
        perform runnel.require_all_rows((select w.relation from runnel.watched w where w.function = %1$L));
    end if;

    if slow is not null then
        if tg_op <> 'INSERT' then
            execute runnel.slow_sql(%1$L, slow, 'old') into old_id, old_key, old_row using old;
        end if;
        if tg_op <> 'DELETE' then
            execute runnel.slow_sql(%1$L, slow, 'new') into new_id, new_row using new;
        end if;
    else
        if tg_op <> 'INSERT' then
            old_id := %7$s;
            %18$s
        end if;
        if tg_op <> 'DELETE' then
            new_id := %6$s;
            new_row := %8$s;
        end if;
    end if;

    if tg_op = 'DELETE' or old_id <> new_id then
        if careful and slow is not null then
            execute runnel.slow_sql(%1$L, slow, 'kept') into kept using old;
        elsif careful then
            select %9$s into kept from %2$s t where %16$s;
        end if;
        if slow is null then
            old_key := %10$s;
        end if;
        if kept is not null then -- another row has the key by now
            insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload)
            values (%3$L, old_id, %4$L, 2, runnel.event_payload(%2$L, old_id, concat('{"operation":"UPDATE","row":', kept, '}'), octet_length(kept), %11$s));
        elsif octet_length(old_id) between 1 and 1024 and old_key is not null then
            payload := concat('{"key":', old_key%19$s, '}');
            if octet_length(payload) > %12$s then
                perform runnel.check_size(%2$L, old_id, case when slow is not null then octet_length(payload) else %14$s end, %11$s);
            end if;
            insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload)
            values (%3$L, old_id, %5$L, 2, convert_to(payload, 'UTF8'));
        end if;
    end if;

    if tg_op <> 'DELETE' then
        if octet_length(new_id) not between 1 and 1024 then
            perform runnel.refuse_id(%2$L, new_id);
        end if;
        if careful then
            new_row := null;
            if slow is not null then
                execute runnel.slow_sql(%1$L, slow, 'kept') into new_row using new;
            else
                select %9$s into new_row from %2$s t where %15$s;
            end if;
            if new_row is null then
                return null; -- what took it away has told so, or will
            end if;
        end if;
        payload := concat('{"operation":"', tg_op, '","row":', new_row%20$s, '}');
        if octet_length(payload) > %12$s then
            perform runnel.check_size(%2$L, new_id, case when slow is not null then octet_length(payload) else %13$s end, %11$s);
        end if;
        insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload)
        values (%3$L, new_id, %4$L, 2, convert_to(payload, 'UTF8'));
    end if;
    return null;
end
$body$,
        w.function, name, w.aggregate_type, prefix || 'Changed', prefix || 'Deleted',
        runnel.id_sql(name, w.fields, w.key, 'new', true), runnel.id_sql(name, w.fields, w.key, 'old', false),
        runnel.row_sql(name, w.fields, 'new', true), runnel.row_sql(name, w.fields, 't', true),
        runnel.key_sql(name, w.fields, w.key, 'old'),
        w.max_bytes, case when floats then w.max_bytes / 9 else w.max_bytes end,
        concat(runnel.size_sql(w.fields, 'new'), case when w.before then ' + ' || runnel.size_sql(w.fields, 'old') end),
        runnel.size_sql(w.fields, 'old'),
        runnel.same_key_sql(w.relation, w.fields, w.key, 'new'), runnel.same_key_sql(w.relation, w.fields, w.key, 'old'),
        w.uniqueness,
        case when w.before then format('old_row := %s;', runnel.before_sql(name, w.fields, prefix, 'old')) end,
        case when w.before then ', '',"before":'', old_row' end,
        case when w.before then ', case when tg_op = ''UPDATE'' then concat('',"before":'', old_row) end' end,
        w.version, md5(w.signature), w.relation::oid, w.hidden);
    return format('create or replace function runnel.%I() returns trigger language plpgsql security definer'
        ' set search_path = pg_catalog, pg_temp%s as %L', w.function,
        case when floats then ' set extra_float_digits = 1' else '' end, body);
end
$sql$;

revoke all on all functions in schema runnel from public;

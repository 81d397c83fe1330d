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
--   rekeyed   every change of a row is: the text of the key, and so the ids, would be others
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
        field := jsonb_strip_nulls(f || jsonb_build_object('column', c -> 'column', 'source', c -> 'source'));
        was := runnel.field_type(f || '{"nullable": false, "enum": ""}', true);
        is_now := runnel.field_type(c || '{"nullable": false, "enum": ""}', true);
        if c ? 'reason' then
            effect := 'refused';
            message := format('column %I cannot be published any more: %s', c ->> 'column', c ->> 'reason');
        elsif f ->> 'name' = any (w.key) and not runnel.same_id(f, c) then
            effect := 'rekeyed';
            message := format('column %I is in the key and of another type now, by which ids are others: %s, not %s', c ->> 'column', is_now, was);
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
        select coalesce(bool_or(c.slow), false) as slow, max(c.message) filter (where c.effect in ('refused', 'rekeyed')) as refused,
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

-- A word as a shell takes it.
create function runnel.shell_word(word text) returns text
    language plpgsql immutable strict
    set search_path = pg_catalog, pg_temp
as $$
begin
    return case when word ~ '^[A-Za-z0-9_@%+=:,./-]+$' then word else concat('''', replace(word, '''', '''\'''''), '''') end;
end
$$;

-- The value of a flag that takes names with commas between.
create function runnel.flag_names(names text[]) returns text
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select runnel.shell_word(string_agg(case when u.name ~ '[",\r\n]' then concat('"', replace(u.name, '"', '""'), '"') else u.name end, ',' order by u.n))
          from unnest(names) with ordinality u(name, n));
end
$$;

-- What to do when the key of a table was altered so that rows have other ids; else
-- when the table was altered.
create function runnel.watch_remedy(relation regclass) returns text
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    if exists (select from runnel.watch_changes(relation) c where c.effect = 'rekeyed') then
        return runnel.rekeyed_remedy(relation);
    end if;
    return format('Write the new schema: runnel schemas gen avsc --from-table %s --out DIR --force. Make it known: runnel schemas plan, then runnel schemas apply. '
        'Then: select runnel.watch(%L); call runnel.publish_rows(%2$L);', runnel.shell_word(relation::text), relation);
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
        when 'new' then format('select %s, %s, %s from (select ($1).*) t',
            runnel.id_sql(name, fields, w.key, 't', true), runnel.row_sql(name, fields, 't', true), runnel.size_sql(fields, 't'))
        when 'old' then format('select %s, %s, %s, %s from (select ($1).*) t',
            runnel.id_sql(name, fields, w.key, 't', false), runnel.key_sql(name, fields, w.key, 't'),
            case when w.before then runnel.before_sql(name, fields, runnel.pascal(w.aggregate_type), 't') else 'null' end,
            case when w.before then runnel.size_sql(fields, 't') else '0' end)
        when 'kept' then runnel.kept_sql(w, fields)
    end;
    perform runnel.set_signed(setting, kept);
    return substr(kept, 33);
end
$$;

-- The SQL that reads the row, and its size, which the table holds under $1's key.
-- While a deferrable key is not checked there may be two: $1 itself comes first.
create function runnel.kept_sql(w runnel.watched, fields jsonb) returns text
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return format('select %1$s, %2$s from %3$s t where %4$s order by (%1$s) = (%5$s) desc', runnel.row_sql(w.relation::text, fields, 't', true),
        runnel.size_sql(fields, 't'), w.relation, runnel.same_key_sql(w.relation, fields, w.key, '($1)'),
        runnel.row_sql(w.relation::text, fields, '($1)', true));
end
$$;

-- Whether this table has been changed, earlier in the session's statement, from
-- within more triggers than the change that calls: by a trigger of that change or
-- of another row of its statement, whose events have come before. Notes how deep
-- the caller is. A statement of the session ends with all its triggers.
create function runnel.watch_nested(called name) returns boolean
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    setting text := format('runnel.%s_nested', called);
    held    text := current_setting(setting, true);
    stamp   text := concat(pg_current_xact_id(), ' ', extract(epoch from statement_timestamp()), ' ');
    deepest integer := case when starts_with(held, stamp) then substr(held, length(stamp) + 1)::integer else 0 end;
    depth   integer := pg_trigger_depth();
begin
    if depth > greatest(deepest, 1) then
        perform set_config(setting, stamp || depth, true);
    end if;
    return deepest > depth;
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
    -- 8 row of new, 9 the query that reads the row kept, 10 key of old, 11 most
    -- bytes, 12 where to begin to count, 13 size of new, 14 of old in the event,
    -- 15 uniqueness, 16 row of old as JSON, 17 member of the payload, 18 for an
    -- update, 19 version, 20 shape, 21 oid, 22 hidden columns
    body := format($body$
declare
    -- Planned, the first is a constant; the second is there to be invalidated.
    shape     text := case when pg_relation_filenode(%21$L::regclass) is distinct from 0 then runnel.planned_shape(%21$L::regclass, %22$L) end;
    slow      text;
    careful   boolean := %15$L = 'deferred';
    source    regclass; -- and query: of the rows kept
    query     text;
    kept      text;
    kept_size bigint;
    old_id    text;
    old_key   text;
    old_row   text;
    old_size  bigint := 0; -- of old_row
    new_id    text;
    new_row   text;
    new_size  bigint;
    payload   text;
begin
    if tg_op = 'TRUNCATE' then
        perform runnel.watch_truncated(%1$L, tg_relid);
        return null;
    end if;
    if shape <> %20$L then
        slow := runnel.watch_check(%1$L, %19$s, shape, tg_relid);
    end if;
    if %15$L = 'immediate' and (pg_trigger_depth() > 1 or current_setting('runnel.%1$s_nested', true) <> '') then
        careful := runnel.watch_nested(%1$L);
    end if;
    if careful then
        source := (select w.relation from runnel.watched w where w.function = %1$L);
        query := case when slow is null then %9$L else runnel.slow_sql(%1$L, slow, 'kept') end;
    end if;

    if slow is not null then
        if tg_op <> 'INSERT' then
            execute runnel.slow_sql(%1$L, slow, 'old') into old_id, old_key, old_row, old_size using old;
        end if;
        if tg_op <> 'DELETE' then
            execute runnel.slow_sql(%1$L, slow, 'new') into new_id, new_row, new_size using new;
        end if;
    else
        if tg_op <> 'INSERT' then
            old_id := %7$s;
            %16$s
        end if;
        if tg_op <> 'DELETE' then
            new_id := %6$s;
            new_row := %8$s;
        end if;
    end if;

    if tg_op = 'DELETE' or old_id <> new_id then
        if careful then
            select k.kept, k.size into kept, kept_size from runnel.read_kept(source, query, old) k;
        end if;
        if slow is null then
            old_key := %10$s;
        end if;
        if kept is not null then -- another row has the key by now
            insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload)
            values (%3$L, old_id, %4$L, 2, runnel.event_payload(%2$L, old_id, concat('{"operation":"UPDATE","row":', kept, '}'), kept_size, %11$s));
        elsif octet_length(old_id) between 1 and 1024 and old_key is not null then
            payload := concat('{"key":', old_key%17$s, '}');
            if octet_length(payload) > %12$s then
                if slow is null then
                    old_size := %14$s;
                end if;
                perform runnel.check_size(%2$L, old_id, octet_length(old_key) + old_size, %11$s);
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
            select k.kept, k.size into new_row, new_size from runnel.read_kept(source, query, new) k;
            if new_row is null then
                return null; -- what took it away has told so, or will
            end if;
        end if;
        payload := concat('{"operation":"', tg_op, '","row":', new_row%18$s, '}');
        if octet_length(payload) > %12$s then
            if slow is null then
                old_size := %14$s;
            end if;
            if slow is null and not careful then
                new_size := %13$s;
            end if;
            perform runnel.check_size(%2$L, new_id, new_size + old_size, %11$s);
        end if;
        insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload)
        values (%3$L, new_id, %4$L, 2, convert_to(payload, 'UTF8'));
    end if;
    return null;
end
$body$,
        w.function, name, w.aggregate_type, prefix || 'Changed', prefix || 'Deleted',
        runnel.id_sql(name, w.fields, w.key, 'new', true), runnel.id_sql(name, w.fields, w.key, 'old', false),
        runnel.row_sql(name, w.fields, 'new', true), runnel.kept_sql(w, w.fields),
        runnel.key_sql(name, w.fields, w.key, 'old'),
        w.max_bytes, case when floats then w.max_bytes / 9 else w.max_bytes end,
        runnel.size_sql(w.fields, 'new'), case when w.before then runnel.size_sql(w.fields, 'old') else '0' end,
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

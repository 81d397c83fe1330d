-- What a table's columns are in Avro, and what its rows are in JSON. This is the
-- one place that knows: runnel.watch, its trigger, doctor and `runnel schemas gen
-- avsc` all ask here.
--
--   columns --table_columns, table_fields--> fields (jsonb) --table_avro--> Avro schemas
--                                              |--row_sql, key_sql, id_sql--> SQL that gives JSON
--
-- A field is a column as events have it:
--   name       in the schema; the column's name when it was first seen
--   column     its name now; attnum, typid: how it is found again, and its type
--   kind       boolean int long float double bytes string uuid date time timestamp
--              timestamptz decimal (precision, scale) enum (enum, symbols)
--   array      an array of that kind
--   source     of a string: enum (with labels that are no names) or char (with blanks at its end)
--   nullable   a union with null, whose default is null
--   excluded   left out of the events; kept to know the column after a rename
--   retired    the column is gone; the field stays, always null
--   fit        of another type now, of which only values that fit are let through
-- SQLSTATEs: RN007 the table cannot be watched, RN008 the value cannot be published.

create function runnel.pascal(name text) returns text
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select coalesce(string_agg(upper(left(p, 1) collate "C") || substr(p, 2), '' order by n), '')
          from regexp_split_to_table(name, '[^A-Za-z0-9]+') with ordinality as s(p, n));
end
$$;

-- The kind of a type, or the reason why it has none. Domains are what they are
-- made of; a bare NOT NULL of a domain does not count, as it can be got around.
create function runnel.type_kind(
    typid oid, typmod integer,
    out kind text, out is_array boolean, out "precision" integer, out scale integer,
    out symbols text[], out enum_type oid, out source text, out reason text
)
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    t pg_type;
begin
    is_array := false;
    select * into t from pg_type where oid = typid;
    loop
        if t.typtype = 'd' then
            typmod := case t.typtypmod when -1 then typmod else t.typtypmod end;
            select * into t from pg_type where oid = t.typbasetype;
        elsif t.typcategory = 'A' and t.typelem <> 0 and t.typarray = 0 and not is_array then
            is_array := true;
            select * into t from pg_type where oid = t.typelem;
        else
            exit;
        end if;
    end loop;
    kind := case t.oid
        when 'bool'::regtype then 'boolean'
        when 'int2'::regtype then 'int'        when 'int4'::regtype then 'int'
        when 'int8'::regtype then 'long'
        when 'float4'::regtype then 'float'    when 'float8'::regtype then 'double'
        when 'bytea'::regtype then 'bytes'
        when 'text'::regtype then 'string'     when 'varchar'::regtype then 'string'
        when 'bpchar'::regtype then 'string'   when 'name'::regtype then 'string'
        when 'json'::regtype then 'string'     when 'jsonb'::regtype then 'string'
        when 'uuid'::regtype then 'uuid'       when 'date'::regtype then 'date'
        when 'time'::regtype then 'time'       when 'timestamp'::regtype then 'timestamp'
        when 'timestamptz'::regtype then 'timestamptz'
    end;
    if kind is not null then
        source := case t.oid when 'bpchar'::regtype then 'char' end;
    elsif t.typname = 'citext' and t.typcategory = 'S' then
        kind := 'string';
    elsif t.oid = 'numeric'::regtype and typmod = -1 then
        reason := 'numeric without a precision has no Avro type; give it one: numeric(precision, scale)';
    elsif t.oid = 'numeric'::regtype then
        kind := 'decimal';
        "precision" := ((typmod - 4) >> 16) & 65535;
        scale := (((typmod - 4) & 2047) # 1024) - 1024; -- eleven bits with a sign
        if scale < 0 then
            "precision" := "precision" - scale;
            scale := 0;
        end if;
        "precision" := greatest("precision", scale);
    elsif t.typtype = 'e' then
        enum_type := t.oid;
        select array_agg(e.enumlabel::text order by e.enumsortorder) into symbols from pg_enum e where e.enumtypid = t.oid;
        -- Labels that are no names of Avro: as strings.
        if symbols is null or exists (select from unnest(symbols) s where s !~ '^[A-Za-z_][A-Za-z0-9_]*$') then
            kind := 'string';
            source := 'enum';
            symbols := null;
        else
            kind := 'enum';
        end if;
    elsif t.oid = 'timetz'::regtype then
        reason := 'a time of day with a zone has no Avro type; use time, or timestamptz';
    elsif t.oid = 'interval'::regtype then
        reason := 'an interval has no exact Avro type; keep its seconds or months as a number';
    else
        reason := format('type %s has no Avro type', format_type(typid, typmod));
    end if;
end
$$;

-- The live columns of a table, each as a field that has no name yet, by attnum.
create function runnel.table_columns(relation regclass, aggregate text) returns jsonb
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        with columns as (
            select a.attnum, a.attname::text as name, a.atttypid, a.attnotnull, k.*,
                   col_description(a.attrelid, a.attnum) as doc,
                   e.typname::text as enum_name, n.nspname::text as enum_schema,
                   case when a.attname !~ '^[A-Za-z_][A-Za-z0-9_]*$' then 'its name is no name of Avro (letters, digits and _)'
                        when a.attgenerated = 'v' then 'a virtual generated column has no value in a trigger; make it STORED'
                   end as obstacle
              from pg_attribute a
             cross join lateral runnel.type_kind(a.atttypid, a.atttypmod) k
              left join pg_type e on e.oid = k.enum_type
              left join pg_namespace n on n.oid = e.typnamespace
             where a.attrelid = relation and a.attnum > 0 and not a.attisdropped
        ), named as (
            -- Enums of one name in two schemas take their schema's; so does one that
            -- would be named as one of the table's records, or as what all tables share.
            select c.*, runnel.pascal(aggregate)
                        || case when exists (select from columns d where runnel.pascal(d.enum_name) = runnel.pascal(c.enum_name) and d.enum_type <> c.enum_type)
                                     or runnel.pascal(c.enum_name) in ('Row', 'Key', 'Changed', 'Deleted')
                                     or runnel.pascal(aggregate) || runnel.pascal(c.enum_name) = 'RowOperation'
                                then runnel.pascal(c.enum_schema) else '' end
                        || runnel.pascal(c.enum_name) as enum
              from columns c
        )
        select coalesce(jsonb_object_agg(attnum, jsonb_strip_nulls(jsonb_build_object(
                   'column', name, 'attnum', attnum, 'typid', atttypid::bigint, 'nullable', not attnotnull,
                   'kind', kind, 'array', case when is_array then true end, 'precision', "precision", 'scale', scale, 'source', source,
                   'enum', case kind when 'enum' then enum end, 'symbols', to_jsonb(symbols), 'doc', doc,
                   'reason', coalesce(obstacle, reason)))), '{}')
          from named);
end
$$;

create function runnel.rekeyed_remedy(relation regclass) returns text
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return format('Change the column back. Or begin anew, as rows will have other ids: select runnel.unwatch(%L); then runnel.watch as at first, call runnel.publish_rows(%1$L), and rebuild the copies, which hold the rows under both ids.', relation);
end
$$;

-- Whether the text of a column in the key, which makes the aggregate id, is as it
-- was for the same value.
create function runnel.same_id(was jsonb, is_now jsonb) returns boolean
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return case is_now ->> 'kind'
        when 'decimal' then was ->> 'kind' = 'decimal' and was -> 'scale' = is_now -> 'scale'
        when 'int' then was ->> 'kind' in ('int', 'long')
        when 'long' then was ->> 'kind' in ('int', 'long')
        when 'string' then was ->> 'kind' in ('string', 'int', 'long', 'uuid', 'enum')
        else was ->> 'kind' = is_now ->> 'kind' end;
end
$$;

-- The fields of a table's events. With those recorded earlier (recorded, when
-- the table was relid) fields only join: one whose column is gone stays and is
-- null, one that joins is nullable, and a renamed column keeps its field, so that
-- events that are under way fit the new schema and earlier ones have all it asks.
-- exclude null: as recorded.
create function runnel.table_fields(
    relation regclass, aggregate text, key text[], exclude text[], recorded jsonb default null, relid oid default null
) returns jsonb
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    columns  jsonb := runnel.table_columns(relation, aggregate);
    by_name  jsonb := (select coalesce(jsonb_object_agg(value ->> 'column', value), '{}') from jsonb_each(columns));
    fields   jsonb := '{}'; -- by name, with their place
    left_out text[] := exclude;
    place    integer := 0;
    f        jsonb;
    c        jsonb;
    name     text;
begin
    if exclude is null then
        select coalesce(array_agg(c.value ->> 'column'), '{}') into left_out
          from jsonb_array_elements(coalesce(recorded, '[]')) v
          join jsonb_each(columns) c on case when relation = relid then c.value -> 'attnum' = v.value -> 'attnum'
                                             else c.value -> 'column' = v.value -> 'column' end
         where v.value ? 'excluded';
    end if;
    foreach name in array left_out loop
        if not by_name ? name and exclude is not null then
            raise exception 'table % has no column %, which is to be left out', relation, quote_ident(name) using errcode = 'RN007';
        elsif name = any (key) then
            raise exception 'column % of table % is part of the key and cannot be left out', quote_ident(name), relation using errcode = 'RN007';
        end if;
    end loop;
    for f in select value from jsonb_array_elements(coalesce(recorded, '[]')) loop
        continue when f ? 'excluded';
        c := case when relation = relid then columns -> (f ->> 'attnum') else by_name -> (f ->> 'column') end;
        if c is null or c ->> 'column' = any (left_out) then
            f := (f - 'attnum' - 'typid') || '{"retired": true, "nullable": true}';
        else
            columns := columns - (c ->> 'attnum');
            f := c || jsonb_build_object('name', f -> 'name', 'nullable', (f ->> 'nullable')::boolean or (c ->> 'nullable')::boolean);
        end if;
        place := place + 1;
        fields := fields || jsonb_build_object(f ->> 'name', f || jsonb_build_object('place', place));
    end loop;
    for c in select value from jsonb_each(columns) order by (value ->> 'attnum')::integer loop
        name := c ->> 'column';
        place := place + 1;
        f := c || jsonb_build_object('name', name, 'place', place);
        if name = any (left_out) then
            fields := fields || jsonb_build_object('-' || name, -- a key that no field has
                jsonb_build_object('name', name, 'column', name, 'attnum', c -> 'attnum', 'excluded', true, 'place', place));
            continue;
        elsif fields ? name and not fields -> name ? 'retired' then
            raise exception 'column % of table % has the name of a field that holds column % since a rename',
                    quote_ident(name), relation, quote_ident(fields -> name ->> 'column')
                using errcode = 'RN007', hint = 'Leave the column out (exclude), or start afresh: runnel.unwatch, then runnel.watch.';
        elsif recorded is not null then
            f := f || jsonb_build_object('nullable', true, 'place', coalesce(fields -> name -> 'place', f -> 'place'));
        end if;
        fields := fields || jsonb_build_object(name, f);
    end loop;
    for f in select value from jsonb_each(fields) where not value ? 'retired' order by (value ->> 'place')::integer loop
        if f ? 'reason' then
            raise exception 'column % of table % cannot be published: %', quote_ident(f ->> 'column'), relation, f ->> 'reason'
                using errcode = 'RN007', hint = (
                    select format('Change the column, or leave it out: exclude => array[%s] (--exclude %s).', string_agg(quote_literal(o.col), ','), string_agg(o.col, ','))
                    from unnest(left_out || (f ->> 'column')) as o(col));
        end if;
    end loop;
    foreach name in array key loop
        f := fields -> name;
        if f is null or f ? 'retired' then
            raise exception 'table % has no column % to be its key', relation, quote_ident(name) using errcode = 'RN007';
        elsif f ? 'array' or f ->> 'kind' in ('float', 'double') then
            raise exception 'column % of table % cannot be a key: arrays and floating point numbers have no exact text',
                    quote_ident(name), relation using errcode = 'RN007';
        end if;
        if exists (select from jsonb_array_elements(recorded) r where r ->> 'name' = name and not r ? 'excluded' and not runnel.same_id(r, f)) then
            raise exception 'column % of table % is in the key and of another type now, by which ids are others', quote_ident(f ->> 'column'), relation
                using errcode = 'RN010', hint = runnel.rekeyed_remedy(relation);
        end if;
        fields := fields || jsonb_build_object(name, f || '{"nullable": false}'); -- a key is never null
    end loop;
    -- One that is gone has the labels of those that are there: they are one type.
    return (
        select coalesce(jsonb_agg(o.value - 'place' || coalesce(l.labels, '{}') order by (o.value ->> 'place')::integer), '[]')
          from jsonb_each(fields) o
          left join lateral (select jsonb_build_object('symbols', v.value -> 'symbols') as labels from jsonb_each(fields) v
                              where o.value ? 'retired' and v.value -> 'enum' = o.value -> 'enum' and not v.value ? 'retired' limit 1) l on true);
end
$$;

-- The Avro type of a field: `define` says whether an enum is defined or named.
create function runnel.field_type(f jsonb, define boolean) returns text
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
as $$
declare
    t text := case f ->> 'kind'
        when 'uuid' then '{"type":"string","logicalType":"uuid"}'
        when 'date' then '{"type":"int","logicalType":"date"}'
        when 'time' then '{"type":"long","logicalType":"time-micros"}'
        when 'timestamp' then '{"type":"long","logicalType":"local-timestamp-micros"}'
        when 'timestamptz' then '{"type":"long","logicalType":"timestamp-micros"}'
        when 'decimal' then format('{"type":"bytes","logicalType":"decimal","precision":%s,"scale":%s}', f ->> 'precision', f ->> 'scale')
        when 'enum' then case when define
            then format('{"type":"enum","name":"%s","symbols":[%s]}', f ->> 'enum',
                (select string_agg(format('"%s"', s), ',' order by n) from jsonb_array_elements_text(f -> 'symbols') with ordinality e(s, n)))
            else format('"%s"', f ->> 'enum') end
        else format('"%s"', f ->> 'kind') end;
begin
    if f ? 'array' then
        t := '{"type":"array","items":["null",' || t || ']}';
    end if;
    if (f ->> 'nullable')::boolean then
        t := '["null",' || t || ']';
    end if;
    return t;
end
$$;

-- The fields of an Avro record. `defined` are the enums that need no definition
-- (NULL: none is defined here), and those that have one afterwards.
create function runnel.record_fields(fields jsonb, docs boolean, inout defined text[], out result text)
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
as $$
declare
    f jsonb;
begin
    for f in select value from jsonb_array_elements(fields) loop
        result := concat(result || ',', format('{"name":"%s","type":%s%s%s}', f ->> 'name',
            runnel.field_type(f, defined is not null and not f ->> 'enum' = any (defined)),
            case when (f ->> 'nullable')::boolean then ',"default":null' end,
            case when docs and f ? 'doc' then ',"doc":' || to_json(f ->> 'doc')::text end));
        if f ? 'enum' and defined is not null then
            defined := defined || (f ->> 'enum');
        end if;
    end loop;
    result := coalesce(result, '');
end
$$;

-- The types of a table's events: `definition` is the text of an .avsc file, which
-- names the others; of events, `normalised` is the text whose SHA-256 is the
-- fingerprint (package schemas, Schema.Normalised).
create function runnel.table_avro(
    fields jsonb, aggregate text, key text[], before boolean, doc text,
    out name text, out definition text, out normalised text
) returns setof record
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
as $$
declare
    prefix    text := runnel.pascal(aggregate);
    op        text := '{"type":"enum","name":"RowOperation","symbols":["INSERT","UPDATE","FIRST_STATE"],"default":"UPDATE"';
    published jsonb := (select jsonb_agg(f.value order by f.n) from jsonb_array_elements(fields) with ordinality f(value, n) where not f.value ? 'excluded');
    keys      jsonb := (select jsonb_agg(f.value order by k.n) from unnest(key) with ordinality k(name, n)
                          join jsonb_array_elements(published) f(value) on f.value ->> 'name' = k.name);
    record    text := '{"type":"record","name":"%s","fields":[%s]%s}';
    old       text := case when before then ',{"name":"before","type":["null",%s],"default":null%s}' else '' end;
    event     text := format(',"aggregate":"%s"', aggregate);
    about     text := coalesce(',"doc":' || to_json(doc)::text, '');
    defined   text[];
    row_text  text;
    key_text  text;
    f         jsonb;
begin
    name := 'RowOperation';
    definition := op || ',"doc":"What happened to a row; whatever it was, the row is now as the event has it."}';
    return next;
    for f in select distinct on (v.value ->> 'enum') v.value from jsonb_array_elements(published) v where v.value ? 'enum' loop
        name := f ->> 'enum';
        definition := runnel.field_type(f - 'array' || '{"nullable": false}', true);
        return next;
    end loop;
    name := prefix || 'Row';
    definition := format(record, name, (runnel.record_fields(published, true, null)).result, about);
    return next;
    name := prefix || 'Key';
    definition := format(record, name, (runnel.record_fields(keys, true, null)).result, '');
    return next;

    name := prefix || 'Changed';
    row_text := format(record, prefix || 'Row', (runnel.record_fields(published, false, '{}')).result, '');
    definition := format(record, name,
        '{"name":"operation","type":"RowOperation"},{"name":"row","type":"' || prefix || 'Row","doc":"The row as it is now."}'
        || format(old, '"' || prefix || 'Row"', ',"doc":"The row as it was; null for one that is new."'), event || about);
    normalised := format(record, name, '{"name":"operation","type":' || op || '}},{"name":"row","type":' || row_text || '}'
        || format(old, '"' || prefix || 'Row"', ''), event);
    return next;

    name := prefix || 'Deleted';
    select r.result, r.defined into key_text, defined from runnel.record_fields(keys, false, '{}') r;
    row_text := format(record, prefix || 'Row', (runnel.record_fields(published, false, defined)).result, '');
    definition := format(record, name, '{"name":"key","type":"' || prefix || 'Key","doc":"Which row is gone."}'
        || format(old, '"' || prefix || 'Row"', ',"doc":"The row as it was."'), event);
    normalised := format(record, name, '{"name":"key","type":' || format(record, prefix || 'Key', key_text, '') || '}'
        || format(old, row_text, ''), event);
    return next;
end
$$;

-- The names of the types that are a table's own.
create function runnel.type_names(fields jsonb, aggregate text) returns text[]
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return array(
        select runnel.pascal(aggregate) || r from unnest(array['Row', 'Key', 'Changed', 'Deleted']) r
        union select f ->> 'enum' from jsonb_array_elements(fields) f where f ? 'enum' and not f ? 'excluded');
end
$$;

-- Refuses names that are taken: by another watched table (order with an enum
-- item_status, order_item with an enum status), or twice in this one.
create function runnel.require_own_names(relation regclass, fields jsonb, aggregate text) returns void
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    names text[] := runnel.type_names(fields, aggregate);
    taken record;
begin
    select u.name, w.relation::text as of_what into taken
      from runnel.watched w
      join pg_class c on c.oid = w.relation
     cross join lateral unnest(runnel.type_names(w.fields, w.aggregate_type)) u(name)
     where w.relation <> require_own_names.relation and u.name = any (names)
     limit 1;
    if not found then
        select 'RowOperation' as name, 'all tables' as of_what into taken where 'RowOperation' = any (names);
    end if;
    if not found then
        select a ->> 'enum' as name, format('column %I', a ->> 'column') as of_what into taken
          from jsonb_array_elements(fields) with ordinality f(a, n)
          join jsonb_array_elements(fields) with ordinality g(b, m) on a ->> 'enum' = b ->> 'enum' and a -> 'symbols' <> b -> 'symbols' and n < m
         limit 1;
    end if;
    if found then
        raise exception 'type % of table % would have the name of a type of %', taken.name, relation, taken.of_what
            using errcode = 'RN007', hint = 'Another aggregate gives other names (runnel.unwatch first if it is watched); so does another name of the enum; or leave the column out (exclude).';
    end if;
end
$$;

revoke all on all functions in schema runnel from public;

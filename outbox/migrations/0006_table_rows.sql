-- What a table's rows are in JSON, as the daemon's transcoder takes it (package
-- schemas, AppendJSONToAvro): functions that write the SQL for a table's fields.
-- A value that its type in Avro does not hold is refused there and then, in the
-- writer's transaction (RN008): in the stream it would halt everybody.
--
-- No setting of the session may change what is written: numbers and names are
-- the same under all, times carry their zone, bytes are encoded by hand, and
-- what uses floating point runs with extra_float_digits = 1.
--
-- Nor may code of the table's owner run, as this SQL runs with rights that the
-- owner has not. Who owns a type (an enum, a domain, and with it their arrays) may
-- make casts of it, and Postgres looks for those first. So what is of a user's type
-- is never cast: concat calls its output function. Casts of a domain itself are
-- those of what it is made of.

-- Ends the statement. It has the type of its first argument, so that it can stand
-- for a value in CASE and coalesce.
create function runnel.refuse_value(instead_of anyelement, relation text, column_name text, why text) returns anyelement
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'table % is watched, and its column % holds what its events cannot: %', relation, quote_ident(column_name), why
        using errcode = 'RN008',
              hint = 'Write another value; or leave the column out of the events (exclude of runnel.watch). If the table was altered: runnel doctor --check watched-tables says what to do.';
end
$$;

-- The text of a value, of an array the text of each element, as SQL; for kinds
-- string and enum. NULL stays NULL.
create function runnel.text_sql(f jsonb, e text) returns text
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return format(case
        when f ? 'array' and f ->> 'source' = 'char' then
            'case when %1$s is not null then array(select rtrim(a.v, '' '') from unnest(concat(%1$s)::text[]) with ordinality a(v, n) order by a.n) end'
        when f ? 'array' then 'nullif(concat(%1$s), '''')::text[]'
        when f ->> 'kind' = 'enum' or f ->> 'source' = 'enum' then 'case when %1$s is not null then concat(%1$s) end'
        else '%1$s::text' end, e);
end
$$;

-- The JSON of one value, as SQL; e is SQL for the value. strict: never NULL, a
-- value that cannot be published is refused; else such a value gives NULL.
create function runnel.value_sql(relation text, f jsonb, e text, strict boolean) returns text
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
as $$
declare
    kind   text := f ->> 'kind';
    typ    text := 'json'; -- of the expression
    expr   text;
    bad    text; -- a condition; NULL is no
    labels text[] := array(select jsonb_array_elements_text(f -> 'symbols'));
    reason text := 'a value that Avro does not have';
begin
    if f ? 'retired' then
        return quote_literal('null');
    elsif f ? 'array' then
        reason := 'an element that Avro does not have, more than one dimension, or a first index other than 1';
        expr := case
            when kind in ('string', 'enum') then format('to_json(%s)', runnel.text_sql(f, e))
            when kind = 'bytes' then format('case when %1$s is not null then (select coalesce(json_agg(%2$L || encode(b.v, ''hex'') order by b.n), ''[]'')'
                || ' from unnest(concat(%1$s)::bytea[]) with ordinality b(v, n)) end', e, '\x')
            else format('to_json(%s)', e) end;
        bad := concat(format('array_ndims(%1$s) > 1 or array_lower(%1$s, 1) <> 1', e), case kind
            when 'decimal' then format(' or ''NaN'' = any (%s)', e)
            when 'date' then format(' or ''infinity'' = any (%1$s) or ''-infinity'' = any (%1$s)', e)
            when 'time' then format(' or ''24:00'' = any (%s)', e)
            when 'timestamp' then format(' or ''-infinity'' = any (%1$s) or ''294247-01-01'' <= any (%1$s)', e)
            when 'timestamptz' then format(' or ''-infinity'' = any (%1$s) or ''294247-01-01 00:00:00+00'' <= any (%1$s)', e)
            when 'enum' then format(' or not array_remove(%s, null) <@ %L', runnel.text_sql(f, e), labels)
        end);
    else
        if kind in ('boolean', 'int', 'long', 'decimal', 'bytes') then
            typ := 'text';
        end if;
        expr := case
            when kind in ('boolean', 'int', 'long', 'decimal') then format('%s::text', e)
            when kind = 'bytes' then format('(%L || encode(%s, ''hex'') || ''"'')', '"\\x', e)
            when kind in ('string', 'enum') then format('to_json(%s)', runnel.text_sql(f, e))
            else format('to_json(%s)', e) end;
        bad := case
            when f ->> 'fit' = 'int' then format('%s not between -2147483648 and 2147483647', e)
            when f ->> 'fit' = 'decimal' then format('%1$s = ''NaN'' or %1$s <> round(%1$s, %2$s) or abs(%1$s) >= 1e%3$s', e, f ->> 'scale',
                (f ->> 'precision')::integer - (f ->> 'scale')::integer)
            when kind = 'decimal' then format('%s = ''NaN''', e)
            when kind = 'date' then format('not isfinite(%s)', e)
            when kind = 'time' then format('%s = ''24:00''', e)
            -- Counted from 1970, the last thirty years of Postgres are beyond 64 bits.
            when kind = 'timestamp' then format('%1$s = ''-infinity'' or %1$s >= ''294247-01-01''', e)
            when kind = 'timestamptz' then format('%1$s = ''-infinity'' or %1$s >= ''294247-01-01 00:00:00+00''', e)
            when kind = 'enum' then format('(%s) <> all (%L)', runnel.text_sql(f, e), labels)
        end;
        reason := case
            when f ->> 'fit' = 'int' then 'a number beyond the 32 bits of its field'
            when f ->> 'fit' = 'decimal' then format('a number that decimal(%s,%s) does not hold', f ->> 'precision', f ->> 'scale')
            when kind = 'enum' then 'a label that its schema does not have'
            else reason end;
    end if;
    if (f ->> 'nullable')::boolean then
        expr := format('coalesce(%s, ''null'')', expr);
    elsif strict then
        expr := format('coalesce(%s, runnel.refuse_value(null::%s, %L, %L, ''NULL''))', expr, typ, relation, f ->> 'column');
    end if;
    if bad is null then
        return expr;
    elsif not strict then
        return format('case when not coalesce(%s, false) then %s end', bad, expr);
    end if;
    return format('case when %s then runnel.refuse_value(null::%s, %L, %L, %L) else %s end', bad, typ, relation, f ->> 'column', reason, expr);
end
$$;

-- The JSON object of some fields, as SQL of type text; alias is the row's name in
-- the query. concat is the fastest way, takes no more than a hundred arguments,
-- and passes over NULL; || does not.
create function runnel.object_sql(relation text, fields jsonb, alias text, strict boolean) returns text
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        with pieces as (
            select (f.n - 1) / 40 as part, f.n, quote_literal(format('%s"%s":', case f.n when 1 then '{' else ',' end, f.value ->> 'name')) as key,
                   runnel.value_sql(relation, f.value, format('%s.%I', alias, f.value ->> 'column'), strict) as value
              from jsonb_array_elements(fields) with ordinality f(value, n)
        ), parts as (
            select part, case when strict then format('concat(%s)', string_agg(concat(key, ', ', value), ', ' order by n))
                              else string_agg(format('%s || (%s)::text', key, value), ' || ' order by n) end as piece
              from pieces group by part
        )
        select case when strict then format('concat(%s, ''}'')', string_agg(piece, ', ' order by part))
                    else format('(%s || ''}'')', string_agg(piece, ' || ' order by part)) end
          from parts);
end
$$;

create function runnel.row_sql(relation text, fields jsonb, alias text, strict boolean) returns text
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select runnel.object_sql(relation, jsonb_agg(f.value order by f.n), alias, strict)
          from jsonb_array_elements(fields) with ordinality f(value, n) where not f.value ? 'excluded');
end
$$;

-- A row as it was, for the field before: null when it cannot be said, because the
-- table held it before it was watched.
create function runnel.before_sql(relation text, fields jsonb, prefix text, alias text) returns text
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select format('coalesce(%L || %s || ''}'', ''null'')', format('{"%sRow":', prefix), runnel.row_sql(relation, fields, alias, false)));
end
$$;

-- The fields of the key, in the key's order.
create function runnel.key_fields(fields jsonb, key text[]) returns jsonb
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select jsonb_agg(f.value order by k.n)
          from unnest(key) with ordinality k(name, n)
          join jsonb_array_elements(fields) f(value) on f.value ->> 'name' = k.name and not f.value ? 'excluded');
end
$$;

create function runnel.key_sql(relation text, fields jsonb, key text[], alias text) returns text
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select runnel.object_sql(relation, runnel.key_fields(fields, key), alias, false));
end
$$;

-- The aggregate id, as SQL of type text: the key's text. Of several columns: the
-- texts with commas between, where a comma or a backslash within a text has a
-- backslash before it, so that no two keys have one id. NULL in a key is refused
-- (strict), or gives NULL.
create function runnel.id_sql(relation text, fields jsonb, key text[], alias text, strict boolean) returns text
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        with texts as (
            select k.n, k.f, format('%s.%I', alias, k.f ->> 'column') as e
              from jsonb_array_elements(runnel.key_fields(fields, key)) with ordinality k(f, n)
        ), shown as (
            select n, format(case when strict then 'coalesce(%s, runnel.refuse_value(null::text, %L, %L, ''NULL, in the key''))' else '%s' end,
                case f ->> 'kind'
                    when 'bytes' then format('encode(%s, ''hex'')', e)
                    when 'date' then format('(to_json(%s) #>> ''{}'')', e)
                    when 'timestamp' then format('(to_json(%s) #>> ''{}'')', e)
                    when 'timestamptz' then format('((to_json(%s at time zone ''UTC'') #>> ''{}'') || ''Z'')', e)
                    when 'enum' then format('(%s)', runnel.text_sql(f, e))
                    when 'string' then case when cardinality(key) = 1 then format('(%s)', runnel.text_sql(f, e))
                        else format('replace(replace(%s, %L, %L), '','', %L)', runnel.text_sql(f, e), '\', '\\', '\,') end
                    else e || '::text'
                end, relation, f ->> 'column') as piece
              from texts
        )
        select string_agg(piece, ' || '','' || ' order by n) from shown);
end
$$;

-- The greatest size of a row in Avro, as SQL of type bigint: the JSON may be much
-- larger (bytes, quotation marks), and smaller too (floating point).
create function runnel.size_sql(fields jsonb, alias text) returns text
    language plpgsql immutable
    set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select concat(48 * jsonb_array_length(fields), '::bigint', (
            select string_agg(format(case
                       when f ? 'array' and f ->> 'kind' = 'double' then ' + 9 * coalesce(cardinality(%1$s), 0)'
                       when f ? 'array' then ' + octet_length(concat(%1$s)) + 6 * coalesce(cardinality(%1$s), 0)'
                       when f ->> 'kind' = 'bytes' then ' + coalesce(octet_length(%1$s), 0)'
                       when f ->> 'source' = 'enum' then ' + octet_length(concat(%1$s))'
                       when f ->> 'kind' in ('string', 'decimal') then ' + coalesce(octet_length(%1$s::text), 0)'
                       else '' end, format('%s.%I', alias, f ->> 'column')), '')
              from jsonb_array_elements(fields) f
             where not f ?| array['excluded', 'retired'])));
end
$$;

revoke all on all functions in schema runnel from public;

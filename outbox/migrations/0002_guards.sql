-- What keeps the rows as they were written, and typos out of the stream.
-- SQLSTATEs: RN001 unknown event type, RN002 unknown schema of a known one,
-- RN003 rows are immutable, RN004 invalid argument.

create function runnel.reject_change() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception '% refused: rows of %.% are immutable', tg_op, tg_table_schema, tg_table_name
        using errcode = 'RN003',
              hint = 'Old rows go by retention: the daemon drops whole partitions once every pipeline has confirmed them. To correct an event, publish another.';
end
$$;

-- The row trigger is cloned to every partition; TRUNCATE triggers are not, so
-- each partition gets its own (runnel.make_partition): a truncate of one
-- partition does not fire the root's.
create trigger outbox_immutable before update or delete on runnel.outbox
    for each row execute function runnel.reject_change();
create trigger outbox_no_truncate before truncate on runnel.outbox
    for each statement execute function runnel.reject_change();

create trigger control_immutable before update or delete on runnel.control
    for each row execute function runnel.reject_change();
create trigger control_no_truncate before truncate on runnel.control
    for each statement execute function runnel.reject_change();

-- One check for every way in (the Go library, runnel.publish, INSERT, COPY),
-- once per statement. It runs as the writer, who may read runnel.event_type.
-- Stable: its queries share the statement's snapshot, in which either no type was
-- registered or all of a registration were.
create function runnel.check_event_types() returns trigger
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    bad record;
begin
    select n.event_type, n.aggregate_type, n.encoding, n.fingerprint into bad
      from new_rows n
     where not exists (
            select from runnel.event_type t
             where t.name = n.event_type
               and t.aggregate_type = n.aggregate_type
               and (n.encoding = 2 or t.fingerprint = n.fingerprint))
     limit 1;
    if not found then
        return null;
    end if;
    if not exists (select from runnel.event_type) then
        return null; -- nothing registered: everything is admitted
    end if;
    if exists (select from runnel.event_type t
                where t.name = bad.event_type and t.aggregate_type = bad.aggregate_type) then
        raise exception 'the schema of event type "%" with fingerprint % is not registered',
                bad.event_type, encode(bad.fingerprint, 'hex')
            using errcode = 'RN002',
                  hint = 'This program was built with another version of the schema than the daemon knows: apply the newer catalog (runnel schemas plan, then runnel schemas apply).';
    end if;
    raise exception 'event type "%" of aggregate type "%" is not registered',
            bad.event_type, bad.aggregate_type
        using errcode = 'RN001',
              hint = coalesce(
                (select format('"%s" is an event of aggregate type "%s".', t.name, t.aggregate_type)
                   from runnel.event_type t where t.name = bad.event_type limit 1),
                'Known: ' || (select string_agg(k.name, ', ' order by k.name) from (
                    select distinct t.name from runnel.event_type t
                     order by t.name limit 20) k) || '. If it is new, runnel schemas plan and then runnel schemas apply let it in; or it was taken out of the catalog.');
end
$$;

create trigger outbox_event_types after insert on runnel.outbox
    referencing new table as new_rows
    for each statement execute function runnel.check_event_types();

-- Only adds. An event type that is in the table stays publishable until its
-- owner deletes the row.
create function runnel.register_event_types(names text[], aggregate_types text[], fingerprints bytea[])
    returns integer
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    added integer;
    taken record;
begin
    insert into runnel.event_type (name, aggregate_type, fingerprint)
    select u.name, u.aggregate_type, u.fingerprint
      from unnest(names, aggregate_types, fingerprints) as u(name, aggregate_type, fingerprint)
        on conflict do nothing;
    get diagnostics added = row_count;

    select u.name, u.aggregate_type, t.aggregate_type as registered into taken
      from unnest(names, aggregate_types, fingerprints) as u(name, aggregate_type, fingerprint)
      join runnel.event_type t on t.name = u.name and t.fingerprint = u.fingerprint
     where t.aggregate_type <> u.aggregate_type
     limit 1;
    if found then
        raise exception 'event type "%" is registered with the same schema under aggregate type "%", not "%"',
                taken.name, taken.registered, taken.aggregate_type
            using errcode = 'RN004';
    end if;
    return added;
end
$$;

revoke all on all functions in schema runnel from public;

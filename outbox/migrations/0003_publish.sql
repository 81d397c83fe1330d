-- The way in for every language that speaks SQL.

-- SECURITY INVOKER: the caller needs no more than what a writer may do anyway
-- (INSERT on the same columns), so there is no right to lend, and no way to
-- misuse one. The statement trigger of the outbox refuses unknown event types.
create function runnel.publish(
    aggregate_type text,
    aggregate_id   text,
    event_type     text,
    payload        jsonb,
    headers        jsonb default '{}'
) returns uuid
    language plpgsql volatile security invoker
    set search_path = pg_catalog, pg_temp
as $$
declare
    event_id uuid := runnel.uuid7(); -- not by RETURNING: a writer may not read the outbox
begin
    if publish.aggregate_id is null or publish.aggregate_id = '' then
        raise exception 'runnel.publish: aggregate_id is missing'
            using errcode = 'RN004', hint = 'The aggregate id is the message key: events of one aggregate keep their order.';
    end if;
    if publish.payload is null or jsonb_typeof(publish.payload) <> 'object' then
        raise exception 'runnel.publish: payload is %, not a JSON object', coalesce(jsonb_typeof(publish.payload), 'NULL')
            using errcode = 'RN004', hint = 'Give the event''s fields as one JSON object.';
    end if;
    insert into runnel.outbox (id, aggregate_type, aggregate_id, event_type, encoding, payload, headers)
    values (event_id, publish.aggregate_type, publish.aggregate_id, publish.event_type, 2,
            convert_to(publish.payload::text, 'UTF8'), coalesce(publish.headers, '{}'));
    return event_id;
end
$$;
comment on function runnel.publish(text, text, text, jsonb, jsonb) is
    'Publishes one event in the caller''s transaction and returns its id. headers: a flat object of strings.';

-- Where the write-ahead log is now, and in which epoch: what a receipt's token
-- holds. The epoch is NULL until the daemon has recorded this timeline. Runs
-- as the owner because writers may not read runnel.epoch.
create function runnel.wal_position(out epoch integer, out lsn pg_lsn)
    language sql volatile security definer
    set search_path = pg_catalog, pg_temp
as $$
    with here as (select pg_current_wal_insert_lsn() as lsn)
    select (select e.epoch
              from runnel.epoch e
             where e.system_id = (select c.system_identifier::text from pg_control_system() c)
               and e.timeline = ('x' || left(pg_walfile_name(here.lsn), 8))::bit(32)::int),
           here.lsn
      from here
$$;

revoke all on all functions in schema runnel from public;

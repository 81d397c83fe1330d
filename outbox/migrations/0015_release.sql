-- The way out of the dead-letter topic.

-- Releases parked events: writes the control record that tells the daemon so, and after it,
-- for a retry, the events themselves, under their ids and in the order given. All of it in the
-- caller's transaction, which holds nothing else. Rows are those of runnel.outbox; fingerprints
-- are empty where they are NULL there.
create function runnel.release_parked(pipeline text, record jsonb, ids uuid[], event_types text[], encodings smallint[],
                                      fingerprints bytea[], payloads bytea[], headers text[], occurred timestamptz[])
    returns void
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    insert into runnel.control (pipeline, kind, body) values (release_parked.pipeline, 'release', record);
    insert into runnel.outbox (id, aggregate_type, aggregate_id, event_type, encoding, fingerprint, payload, headers, occurred_at)
    select r.id, record ->> 'aggregate_type', record ->> 'aggregate_id', r.event_type, r.encoding,
           nullif(r.fingerprint, ''::bytea), r.payload, coalesce(nullif(r.headers, ''), '{}')::jsonb, r.occurred
      from unnest(ids, event_types, encodings, fingerprints, payloads, headers, occurred) with ordinality
           as r(id, event_type, encoding, fingerprint, payload, headers, occurred, n)
     order by r.n;
end
$$;
comment on function runnel.release_parked(text, jsonb, uuid[], text[], smallint[], bytea[], bytea[], text[], timestamptz[]) is
    'What `runnel dlq retry` and `discard` call. The owner''s; who is granted it may publish, and discard, what the pipeline parked.';

-- Keeps every other transaction from writing to the outbox until the caller's ends.
create function runnel.hold_writers() returns void
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp set lock_timeout = '5s'
as $$
begin
    lock table runnel.outbox in exclusive mode;
end
$$;
comment on function runnel.hold_writers() is 'What `runnel dlq retry --exclusive` calls; for whom runnel.release_parked is.';

revoke all on all functions in schema runnel from public;

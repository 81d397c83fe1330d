-- The outbox, and the tables in which the daemon keeps what it knows.
-- Every name is qualified: a migration never depends on a search_path.

create table runnel.schema_version (
    version    integer     primary key,
    name       text        not null,
    applied_at timestamptz not null default now()
);
comment on table runnel.schema_version is 'Migrations applied to this schema.';

-- UUID version 7 (RFC 9562): 48 bits of milliseconds, then 74 random bits. The
-- body is bound to its functions here and now (RETURN), whatever search_path
-- the caller has.
create function runnel.uuid7() returns uuid
    language sql volatile parallel safe
    return encode(
        set_bit(set_bit(
            overlay(uuid_send(gen_random_uuid()),
                    substring(int8send(floor(extract(epoch from clock_timestamp()) * 1000)::bigint), 3),
                    1, 6),
            52, 1), 53, 1), -- the random UUID is of version 4: 0100 becomes 0111
        'hex')::uuid;

-- CACHE must stay 1: with a larger one, sessions draw numbers from blocks of
-- their own, and of two events of one aggregate the later could get the
-- smaller number. The rows that were there before the slot are published in
-- order of seq.
create sequence runnel.outbox_seq as bigint cache 1 no cycle;

create table runnel.outbox (
    seq            bigint      not null default nextval('runnel.outbox_seq'),
    id             uuid        not null default runnel.uuid7(),
    aggregate_type text        not null,
    aggregate_id   text        not null,
    event_type     text        not null,
    aggregate_seq  bigint,
    encoding       smallint    not null,
    fingerprint    bytea,
    payload        bytea       not null,
    headers        jsonb       not null default '{}',
    occurred_at    timestamptz not null default clock_timestamp(),
    xid            xid8        not null default pg_current_xact_id(),
    inserted_at    timestamptz not null default now(),

    -- Names become parts of topics: what Pulsar would refuse is refused here,
    -- in the writer's transaction, and not in everybody's stream.
    -- (+ and a length, because {1,200} takes 20 times as long.)
    constraint outbox_aggregate_type_valid check (
        aggregate_type ~ '^[A-Za-z0-9_.:=-]+$' and octet_length(aggregate_type) <= 200),
    constraint outbox_event_type_valid     check (
        event_type ~ '^[A-Za-z0-9_.:=-]+$' and octet_length(event_type) <= 200),
    constraint outbox_aggregate_id_valid   check (octet_length(aggregate_id) between 1 and 1024),
    constraint outbox_encoding_known       check (encoding in (1, 2)),
    constraint outbox_fingerprint_if_avro  check (
        (encoding = 1 and fingerprint is not null and octet_length(fingerprint) = 32)
        or (encoding = 2 and fingerprint is null)),
    -- A flat object of strings that takes none of the message's own properties.
    -- `strict`: in lax mode the path would look into arrays.
    constraint outbox_headers_flat check (headers = '{}' or (
        jsonb_typeof(headers) = 'object'
        and not jsonb_path_exists(headers, 'strict $.* ? (@.type() != "string")')
        and headers - array['', 'id', 'type', 'position'] = headers)),
    -- The message's event time is unsigned milliseconds since 1970, 0 for none.
    constraint outbox_occurred_at_valid check (
        occurred_at > timestamptz '1970-01-01 00:00:00+00' and occurred_at < timestamptz '10000-01-01 00:00:00+00')
) partition by range (inserted_at);

alter sequence runnel.outbox_seq owned by runnel.outbox.seq;

create index outbox_xid on runnel.outbox (xid); -- confirmed or not: start-up audit, dropping
create index outbox_id on runnel.outbox (id);   -- one event's way: trace, dead letters

comment on table runnel.outbox is
    'Domain events to publish. Insert only. Neither seq nor xid nor id is commit order: order within an aggregate holds if writers lock the aggregate''s row.';
comment on column runnel.outbox.encoding is '1 Avro binary (writer schema named by fingerprint), 2 JSON';
comment on column runnel.outbox.fingerprint is 'SHA-256 of the normalised writer schema; for Avro only';

-- What may be published. Empty: everything.
create table runnel.event_type (
    name           text  not null,
    aggregate_type text  not null,
    fingerprint    bytea not null check (octet_length(fingerprint) = 32),
    primary key (name, fingerprint)
);
comment on table runnel.event_type is 'Event types that writers may publish, each with the fingerprints of its schemas. Empty: all are admitted.';

-- Records that decide the fate of later events, in the stream itself. A table
-- because any role could forge a logical message.
create table runnel.control (
    seq         bigint      generated always as identity primary key,
    pipeline    text        not null,
    kind        text        not null,
    body        jsonb       not null default '{}',
    inserted_at timestamptz not null default now()
);
comment on table runnel.control is 'Control records, published with the outbox; only the owner writes here.';

create table runnel.pipeline (
    name             text        primary key,
    slot             text        not null,
    system_id        text        not null,
    consistent_point pg_lsn,
    snapshot         pg_snapshot,
    snapshot_done    boolean     not null default false,
    routes_hash      text,
    created_at       timestamptz not null default now()
);
comment on column runnel.pipeline.snapshot is 'what was visible when the slot was made: these rows are published first, in order of seq';

create table runnel.epoch (
    epoch      integer     primary key check (epoch > 0),
    system_id  text        not null,
    timeline   integer     not null check (timeline > 0),
    begin_lsn  pg_lsn      not null,
    created_at timestamptz not null default now(),
    unique (system_id, timeline)
);
comment on table runnel.epoch is 'Histories of this database: LSNs of different epochs are not comparable.';

create table runnel.progress (
    pipeline      text        primary key,
    confirmed_lsn pg_lsn      not null,
    snapshot      pg_snapshot,
    updated_at    timestamptz not null default now()
) with (fillfactor = 50);
comment on column runnel.progress.snapshot is 'taken at or before confirmed_lsn: everything visible in it is confirmed';

create table runnel.progress_partition (
    pipeline  text    not null,
    topic     text    not null,
    partition integer not null check (partition >= 0),
    position  text    not null,
    ordinal   bigint  not null check (ordinal >= 0),
    primary key (pipeline, topic, partition)
) with (fillfactor = 50);

revoke all on all tables in schema runnel from public;
revoke all on all functions in schema runnel from public;

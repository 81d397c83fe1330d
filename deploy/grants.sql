-- The roles of Runnel and all they may do. `runnel init` does this too; it is
-- idempotent, and needs schema runnel. Generated from package outbox.
-- No passwords are set here: give "runnel_daemon" one in psql with \password "runnel_daemon",
-- or let it in by certificate. Services log in as roles of their own that are
-- members of "runnel_writer".

begin;

do $runnel$
begin
    if exists (select from pg_catalog.pg_roles where rolname = 'runnel_owner' and rolsuper) then
        raise exception 'role % is a superuser; Runnel''s roles must not be', 'runnel_owner' using errcode = 'RN006';
    elsif not exists (select from pg_catalog.pg_roles where rolname = 'runnel_owner') then
        begin
            create role "runnel_owner" nologin;
        exception when duplicate_object or unique_violation then null;
        end;
    end if;
    if exists (select from pg_catalog.pg_roles where rolname = 'runnel_writer' and rolsuper) then
        raise exception 'role % is a superuser; Runnel''s roles must not be', 'runnel_writer' using errcode = 'RN006';
    elsif not exists (select from pg_catalog.pg_roles where rolname = 'runnel_writer') then
        begin
            create role "runnel_writer" nologin;
        exception when duplicate_object or unique_violation then null;
        end;
    end if;
    if exists (select from pg_catalog.pg_roles where rolname = 'runnel_daemon' and rolsuper) then
        raise exception 'role % is a superuser; Runnel''s roles must not be', 'runnel_daemon' using errcode = 'RN006';
    elsif not exists (select from pg_catalog.pg_roles where rolname = 'runnel_daemon') then
        begin
            create role "runnel_daemon" login replication;
        exception when duplicate_object or unique_violation then null;
        end;
    end if;
    if exists (select from pg_catalog.pg_roles where rolname = 'runnel_reader' and rolsuper) then
        raise exception 'role % is a superuser; Runnel''s roles must not be', 'runnel_reader' using errcode = 'RN006';
    elsif not exists (select from pg_catalog.pg_roles where rolname = 'runnel_reader') then
        begin
            create role "runnel_reader" nologin;
        exception when duplicate_object or unique_violation then null;
        end;
    end if;
    if exists (select from pg_catalog.pg_roles where rolname = 'runnel_daemon' and not (rolcanlogin and rolreplication)) then
        alter role "runnel_daemon" login replication;
    end if;
    if not pg_catalog.has_database_privilege('runnel_daemon', pg_catalog.current_database(), 'CONNECT') then
        execute pg_catalog.format('grant connect on database %I to %I', pg_catalog.current_database(), 'runnel_daemon');
    end if;
    -- To create things as the owner, the current user must be a member of it.
    -- (From 16 on, membership alone does not allow SET ROLE.)
    if not pg_catalog.pg_has_role('runnel_owner',
            case when pg_catalog.current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end) then
        execute pg_catalog.format('grant %I to %I', 'runnel_owner', current_user);
    end if;
    -- The owner calls, and looks after, what belongs to the reader.
    if not pg_catalog.pg_has_role('runnel_owner', 'runnel_reader', 'MEMBER') then
        execute pg_catalog.format('grant %I to %I', 'runnel_reader', 'runnel_owner');
    end if;
end
$runnel$;

set local role "runnel_owner";

revoke all on schema runnel from public;
revoke all on all tables in schema runnel from public;
revoke all on all functions in schema runnel from public;
revoke all on all procedures in schema runnel from public;

grant usage on schema runnel to "runnel_writer";
grant insert (id, aggregate_type, aggregate_id, event_type, aggregate_seq, encoding, fingerprint, payload, headers, occurred_at) on table runnel.outbox to "runnel_writer";
grant usage on sequence runnel.outbox_seq to "runnel_writer";
grant select on table runnel.event_type to "runnel_writer";
grant execute on function runnel.uuid7() to "runnel_writer";
grant execute on function runnel.publish(text, text, text, jsonb, jsonb) to "runnel_writer";
grant execute on function runnel.wal_position() to "runnel_writer";
grant select, delete on table runnel.watched to "runnel_writer";
grant insert (relation, aggregate_type, key, before, exclude, max_bytes) on table runnel.watched to "runnel_writer";
grant update (before, exclude, max_bytes) on table runnel.watched to "runnel_writer";
grant select, insert, update, delete on table runnel.first_state to "runnel_writer";
grant execute on function runnel.watch(regclass, text, text, boolean, text[], integer, boolean) to "runnel_writer";
grant execute on function runnel.watch(regclass, text, text[], boolean, text[], integer, boolean) to "runnel_writer";
grant execute on function runnel.unwatch(regclass) to "runnel_writer";
grant execute on procedure runnel.publish_rows(regclass, integer) to "runnel_writer";
grant execute on function runnel.table_schemas(regclass, text, text[], boolean, text[]) to "runnel_writer";
grant execute on function runnel.watch_problems(regclass) to "runnel_writer";
grant execute on function runnel.require_watchable(regclass) to "runnel_writer";
grant execute on function runnel.require_registered(regclass) to "runnel_writer";
grant execute on function runnel.leaves(regclass) to "runnel_writer";
grant execute on function runnel.primary_key(regclass) to "runnel_writer";
grant execute on function runnel.pascal(text) to "runnel_writer";
grant execute on function runnel.key_fields(jsonb, text[]) to "runnel_writer";
grant execute on function runnel.grant_reading(runnel.watched) to "runnel_writer";
grant execute on function runnel.put_triggers(runnel.watched) to "runnel_writer";
grant execute on function runnel.close_watch(regclass) to "runnel_writer";
grant execute on function runnel.first_state_sql(regclass) to "runnel_writer";
grant execute on function runnel.publish_begin(regclass) to "runnel_writer";
grant execute on function runnel.row_trigger(regclass) to "runnel_writer";
grant execute on function runnel.find_refused(regclass, regclass, text, text, text, integer) to "runnel_writer";
grant execute on function runnel.publish_chunk(regclass, integer) to "runnel_writer";
grant execute on function runnel.event_payload(text, text, text, bigint, integer) to "runnel_writer";
grant execute on function runnel.refuse_value(anyelement, text, text, text) to "runnel_writer";
grant execute on function runnel.refuse_id(text, text) to "runnel_writer";
grant execute on function runnel.require_all_rows(regclass) to "runnel_writer";
grant execute on function runnel.check_size(text, text, bigint, integer) to "runnel_writer";

grant usage on schema runnel to "runnel_daemon";
grant select on table runnel.outbox to "runnel_daemon";
grant select on table runnel.control to "runnel_daemon";
grant select on table runnel.event_type to "runnel_daemon";
grant select on table runnel.schema_version to "runnel_daemon";
grant select, insert, update on table runnel.pipeline to "runnel_daemon";
grant select, insert, update on table runnel.epoch to "runnel_daemon";
grant select, insert, update on table runnel.progress to "runnel_daemon";
grant select, insert, update on table runnel.progress_partition to "runnel_daemon";
grant select, insert, delete on table runnel.repair_row to "runnel_daemon";
grant execute on function runnel.accept_lost(text, text) to "runnel_daemon";
grant execute on function runnel.partitions() to "runnel_daemon";
grant execute on function runnel.ensure_partitions(integer) to "runnel_daemon";
grant execute on function runnel.adopt_default() to "runnel_daemon";
grant execute on function runnel.drop_confirmed(interval) to "runnel_daemon";
grant execute on function runnel.register_event_types(text[], text[], bytea[]) to "runnel_daemon";
grant execute on function runnel.withdraw_event_types(text[]) to "runnel_daemon";
grant select, insert, update on table runnel.schema_plan to "runnel_daemon";
grant execute on function runnel.wal_position() to "runnel_daemon";
grant select on table runnel.watched to "runnel_daemon";
grant select on table runnel.first_state to "runnel_daemon";
grant execute on function runnel.watch_problems(regclass) to "runnel_daemon";
grant execute on function runnel.table_schemas(regclass, text, text[], boolean, text[]) to "runnel_daemon";

grant usage on schema runnel to "runnel_reader";
grant execute on function runnel.require_reader() to "runnel_reader";
grant execute on function runnel.require_all_rows(regclass) to "runnel_reader";
grant execute on function runnel.refuse_value(anyelement, text, text, text) to "runnel_reader";

grant create on schema runnel to "runnel_reader";
alter function runnel.read_kept(regclass, text, anyelement) owner to "runnel_reader";
alter function runnel.read_kept(regclass, text, anyelement) security definer set search_path = pg_catalog, pg_temp set row_security = off set extra_float_digits = 1;
alter function runnel.read_rows(regclass, text) owner to "runnel_reader";
alter function runnel.read_rows(regclass, text) security definer set search_path = pg_catalog, pg_temp set row_security = off set extra_float_digits = 1;
revoke create on schema runnel from "runnel_reader";

commit;

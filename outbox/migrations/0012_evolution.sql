-- Applied plans of `runnel schemas apply`, and the way to take types out again.

create table runnel.schema_plan (
    hash        text        primary key,
    steps       jsonb       not null,
    begun_at    timestamptz not null default now(),
    begun_by    text        not null default session_user,
    finished_at timestamptz
);
comment on table runnel.schema_plan is 'Plans of schemas that were begun: one that was cut off is gone on with from here.';

-- Writers are refused from then on; what is in the outbox is published all the same.
create function runnel.withdraw_event_types(names text[]) returns integer
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    gone integer;
begin
    if not exists (select from runnel.event_type t where t.name <> all (names)) and exists (select from runnel.event_type) then
        raise exception 'no event type would be left, and then all are admitted'
            using errcode = 'RN004', hint = 'Keep one that is published.';
    end if;
    delete from runnel.event_type t where t.name = any (names);
    get diagnostics gone = row_count;
    return gone;
end
$$;

revoke all on all functions in schema runnel from public;

-- What a partition may have lost with its end.

alter table runnel.progress_partition
    add column resumed_seq bigint,
    add column resumed_at  text;
comment on column runnel.progress_partition.resumed_ordinal is 'somebody has accepted that the partition has lost messages up to this ordinal for good: it goes on behind it';
comment on column runnel.progress_partition.resumed_seq is 'the newest seq of the outbox then: what the partition has lost is none that was written later';
comment on column runnel.progress_partition.resumed_at is 'the position of the end of the WAL then: what the partition has lost is none behind it';

-- Lets the partitions of a topic go on behind what they have lost.
create function runnel.accept_lost(pipeline text, topic text) returns integer
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    accepted integer;
begin
    update runnel.progress_partition p
       set resumed_ordinal = p.ordinal,
           resumed_seq = (select last_value from runnel.outbox_seq),
           resumed_at = (select lpad(to_hex(coalesce(max(e.epoch), 0)), 8, '0') from runnel.epoch e)
               || '-' || lpad(to_hex((pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint), 16, '0') || '-00000000'
     where p.pipeline = accept_lost.pipeline and p.topic = accept_lost.topic;
    get diagnostics accepted = row_count;
    if accepted = 0 then
        raise exception 'pipeline % has published to no topic %', quote_literal(accept_lost.pipeline), quote_literal(accept_lost.topic)
            using errcode = 'invalid_parameter_value',
                  hint = coalesce((select 'It is the full name, without a partition. There are: ' || string_agg(distinct p.pipeline || ' ' || p.topic, ', ')
                                     from runnel.progress_partition p), 'No pipeline has published anything.');
    end if;
    return accepted;
end
$$;
comment on function runnel.accept_lost(text, text) is 'The way out of TOPIC_TRUNCATED. Returns the number of partitions that the topic has.';

revoke all on all functions in schema runnel from public;

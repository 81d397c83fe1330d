-- Which rows a partition may have lost with its end.

alter table runnel.progress_partition add column resumed_seq bigint;
comment on column runnel.progress_partition.resumed_ordinal is 'somebody has accepted that the partition has lost messages up to this ordinal for good: it goes on behind it';
comment on column runnel.progress_partition.resumed_seq is 'the newest seq of the outbox then: what the partition has lost is none that was written later';

-- Lets the partitions of a topic go on behind what they have lost.
create function runnel.accept_lost(pipeline text, topic text) returns integer
    language sql security definer
    set search_path = pg_catalog, pg_temp
as $$
    with accepted as (
        update runnel.progress_partition p
           set resumed_ordinal = p.ordinal, resumed_seq = (select last_value from runnel.outbox_seq)
         where p.pipeline = accept_lost.pipeline and p.topic = accept_lost.topic
        returning 1)
    select count(*)::integer from accepted
$$;
comment on function runnel.accept_lost(text, text) is 'The way out of TOPIC_TRUNCATED. Returns the number of partitions that are known of the topic.';

revoke all on all functions in schema runnel from public;

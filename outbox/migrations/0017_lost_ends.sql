-- Which rows a partition may have lost with its end.

alter table runnel.progress_partition add column resumed_seq bigint;
comment on column runnel.progress_partition.resumed_seq is 'set with resumed_ordinal: the newest row of the outbox then; what the partition has lost is none that was written later';

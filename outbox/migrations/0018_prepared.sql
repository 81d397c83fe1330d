-- What a daemon that starts again need not look at once more before it streams.

alter table runnel.pipeline add column prepared_hash text;
comment on column runnel.pipeline.prepared_hash is 'of catalog and settings: with these the pipeline has found, or made, all that it needs';

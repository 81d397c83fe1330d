-- Generations of routes.

alter table runnel.pipeline add column routing jsonb;
comment on column runnel.pipeline.routing is 'the routes that the pipeline published under, and from which position on each; a copy of what its history topic holds, in case that is lost';
comment on column runnel.pipeline.routes_hash is 'of the newest routes';

-- Databases that are moved: back to a server they were on, and with several pipelines.

alter table runnel.epoch drop constraint epoch_system_id_timeline_key;
alter table runnel.pipeline add column former_ends jsonb not null default '{}';
comment on column runnel.pipeline.former_ends is 'by epoch, of an era on another server than the one before: where that one ends, in LSNs of its own, as far as this pipeline has published';

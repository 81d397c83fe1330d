-- Generations of routes.

alter table runnel.pipeline add column routing jsonb;
comment on column runnel.pipeline.routing is 'the routes that the pipeline published under, and from which position on each; a copy of what its history topic holds, in case that is lost';
comment on column runnel.pipeline.routes_hash is 'of the newest routes';

-- Failover: which history a pipeline may publish under.

alter table runnel.pipeline add column settled_epoch integer not null default 0;
comment on column runnel.pipeline.settled_epoch is 'the newest epoch of which it is known that the topics hold nothing it has lost';
update runnel.pipeline p set settled_epoch = coalesce((select max(e.epoch) from runnel.epoch e), 0) where p.consistent_point is not null;

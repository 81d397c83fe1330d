-- Every change of these tables becomes an event from here on.
select runnel.watch('public.pgbench_branches', aggregate => 'branch');
select runnel.watch('public.pgbench_tellers', aggregate => 'teller');
select runnel.watch('public.pgbench_accounts', aggregate => 'account');
-- It has no primary key: its rows are told apart by account only.
select runnel.watch('public.pgbench_history', aggregate => 'history', key => 'aid');
-- The rows that are there already.
call runnel.publish_rows('public.pgbench_branches');
call runnel.publish_rows('public.pgbench_tellers');
call runnel.publish_rows('public.pgbench_accounts');

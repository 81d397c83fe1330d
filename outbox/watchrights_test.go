package outbox_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// Every role that may write the table publishes by that, whatever else it may
// not; none may decide what is published but the table's owner.
func TestWatchRights(t *testing.T) {
	t.Parallel()
	s := newShop(t, "create table items (id int primary key, name text, secret text); insert into items values (0, 'zero', 's')")
	s.run(t, "select runnel.watch('items', 'item', exclude => array['secret'])")

	clerk := pgtest.Conn(t, s.CreateRole(t, "clerk")) // may write the table, and nothing of Runnel
	s.Exec(t, "grant usage on schema app to "+s.Role("clerk")+"; grant insert, update, delete, truncate, select on app.items to "+s.Role("clerk"))
	run(t, clerk, "insert into app.items values (1, 'a', 'b'); update app.items set secret = 'c'; delete from app.items where id = 1; truncate app.items")
	if got := s.changes(t); len(got) != 5 {
		t.Errorf("%v", got)
	}
	for _, sql := range []string{
		"select runnel.publish('item', '1', 'ItemChanged', '{}')",
		"select runnel.watch('app.items')",
		"insert into runnel.watched (relation) values ('app.items')",
	} {
		refused(t, clerk, "42501", "", sql)
	}

	// Another service: a writer, with rights on the table or without.
	other := pgtest.Conn(t, s.CreateRole(t, "other"))
	s.Exec(t, "grant "+s.roles.Writer+" to "+s.Role("other")+"; grant usage, create on schema app to "+s.Role("other")+"; grant trigger, select, insert, update, delete on app.items to "+s.Role("other"))
	run(t, other, "create table app.mine (id int primary key, name text, secret text)")
	function := pgtest.Value[string](t, s.DB, "select function::text from runnel.watched")
	for _, sql := range []string{
		"select runnel.watch('app.items')",
		"select runnel.watch('app.items', exclude => '{}')",
		"select runnel.unwatch('app.items')",
		"call runnel.publish_rows('app.items')",
		"insert into runnel.watched (relation, aggregate_type, key, before, exclude, max_bytes) values ('pg_class', 'x', '{relname}', false, '{}', 1)",
		"update runnel.watched set before = true",
		"update runnel.watched set function = 'x'",
		"insert into runnel.watched (relation, fields) values ('app.mine', '[]')",
		"delete from runnel.watched",
		"insert into runnel.first_state (relation) values ('app.items')",
		"create trigger stolen after insert on app.mine for each row execute function runnel." + function + "()",
		"select runnel.install_watch()",
		"select runnel.watch_check('x', 1, 'x', 1)",
		"select runnel.watch_truncated('" + function + "', 'app.items'::regclass)",
		"select runnel.trigger_sql(w) from runnel.watched w",
		"select runnel.slow_sql('x', 'x', 'new')",
		"select * from runnel.watch_secret",
	} {
		refused(t, other, "42501", "", sql)
	}
	run(t, other, "select runnel.close_watch('app.items'), runnel.watch('app.mine', 'mine')") // harmless; its own
	refused(t, other, "42501", "", "create trigger stolen after insert on app.mine for each row execute function runnel."+
		pgtest.Value[string](t, s.DB, "select function::text from runnel.watched where aggregate_type = 'mine'")+"()")

	// The reader reads what is published, and no more.
	s.Exec(t, "grant "+s.roles.Reader()+" to "+s.Role("other"))
	run(t, other, "set role "+s.roles.Reader())
	run(t, other, "select id, name from app.items")
	refused(t, other, "42501", "", "select secret from app.items")
	run(t, other, "reset role")
	s.Exec(t, "revoke "+s.roles.Reader()+" from "+s.Role("other"))

	// Functions of a schema in the caller's search_path are not called.
	run(t, other, `create function app.to_json(text) returns json language sql as $$ select '"forged"'::json $$;
		create function app.pg_current_xact_id() returns xid8 language sql as 'select ''1''::xid8'; set search_path = app, pg_catalog; insert into items values (2, 'b', null)`)
	if got := s.changes(t); got[len(got)-1].payload != `{"operation":"INSERT","row":{"id":2,"name":"b"}}` {
		t.Errorf("%v", got)
	}

	// A table whose owner is no writer is watched by an administrator.
	s.CreateRole(t, "plain")
	s.Exec(t, "create schema plain authorization "+s.Role("plain")+"; create table plain.t (id int primary key); alter table plain.t owner to "+s.Role("plain")+
		"; select runnel.watch('plain.t', 'plain'); insert into plain.t values (1)")
	s.Exec(t, "call runnel.publish_rows('plain.t')")
	if got := s.changes(t); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

// A schema that our owner may not use, and row security, say what to do.
func TestWatchObstacles(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.Exec(t, "create schema locked; grant usage, create on schema locked to "+s.Role("shop"))
	s.run(t, "create table locked.items (id int primary key)")
	refused(t, s.conn, "42501", "As the owner of the schema: grant usage on schema locked to "+s.roles.Reader(), "select runnel.watch('locked.items', 'item')")
	s.Exec(t, "grant usage on schema locked to "+s.roles.Reader())
	s.run(t, "select runnel.watch('locked.items', 'item')")

	s.run(t, "create table mine (id int primary key, who text); alter table mine enable row level security; create policy mine on mine using (who = current_user)")
	s.run(t, "select runnel.watch('mine', 'mine'); insert into mine values (1, 'x'); update mine set who = 'y'; delete from mine; insert into mine values (2, 'x')")
	refused(t, s.conn, "RN008", "row security hides rows of table app.mine", "truncate mine")
	s.run(t, "call runnel.publish_rows('mine')") // the table's owner sees all
	s.run(t, "alter table mine force row level security")
	refused(t, s.conn, "RN008", "row security hides rows of table app.mine", "call runnel.publish_rows('mine')")

	// Locks that are waited for stop others: not for long.
	s.run(t, "create table busy (id int primary key)")
	conn := s.connect(t, nil)
	run(t, conn, "begin; insert into busy values (1)")
	s.run(t, "set lock_timeout = '10ms'")
	refused(t, s.conn, "55P03", "", "select runnel.watch('busy', 'busy')")
	run(t, conn, "commit")
	s.run(t, "set lock_timeout = 0; select runnel.watch('busy', 'busy')")
	if got := pgtest.Value[string](t, s.DB, "show lock_timeout"); got != "0" {
		t.Errorf("lock_timeout is %s", got)
	}
}

// With event types in use, a table is watched only once its very schema is known.
func TestWatchUnregistered(t *testing.T) {
	t.Parallel()
	s := newShop(t, "create table items (id int primary key, name text)")
	var warnings []string
	conn := s.connect(t, func(n *pgconn.Notice) { warnings = append(warnings, n.Message) })
	run(t, conn, "begin; select runnel.watch('items', 'item'); rollback")
	if len(warnings) != 1 || !strings.Contains(warnings[0], "no event types are registered") {
		t.Errorf("%q", warnings)
	}
	register := func(c *schemas.Catalog) {
		t.Helper()
		if _, err := outbox.RegisterEventTypes(t.Context(), s.Conn(t), c.Events()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := outbox.RegisterEventTypes(t.Context(), s.Conn(t), []*schemas.EventType{orderPlaced}); err != nil {
		t.Fatal(err)
	}
	const watch = "select runnel.watch('app.items', 'item')"
	refused(t, s.conn, "RN001", "runnel schemas gen avsc --from-table app.items --aggregate item", watch)
	// The command is whole, and as a shell takes it. It goes by the daemon: writers must
	// not be admitted before it knows the schema.
	s.run(t, `create table "it's" (a int, b int, "x,y" text, primary key (b, a))`)
	refused(t, s.conn, "RN001", `runnel schemas gen avsc --from-table 'app."it'\''s"' --aggregate odd --key b,a --before --exclude '"x,y"' --out DIR. Make it known: runnel schemas plan, then runnel schemas apply. Then watch.`,
		`select runnel.watch('"it''s"', 'odd', before => true, exclude => '{"x,y"}')`)
	refused(t, s.conn, "RN001", "--aggregate item --key id --out DIR. Make it known: runnel schemas plan", watch)
	register(s.catalog(t, "items", outbox.TableOptions{AggregateType: "item", Exclude: []string{"name"}}))
	refused(t, s.conn, "RN002", "check_schema => false", watch)
	refused(t, s.conn, "RN002", "--key id --out DIR --force. Make", watch)
	s.run(t, "begin; select runnel.watch('app.items', 'item', check_schema => false); rollback")
	register(s.catalog(t, "items", outbox.TableOptions{AggregateType: "item"}))
	s.run(t, watch)
	s.run(t, "insert into items values (1, 'x'); delete from items")
	s.run(t, "alter table items add size int")
	refused(t, s.conn, "RN002", "gen avsc", watch)
	s.run(t, "insert into items values (1, 'x')") // goes on as before
	register(s.catalog(t, "items", outbox.TableOptions{}))
	s.run(t, watch)
	s.run(t, "update items set size = 3")
	if got := s.changes(t); got[len(got)-1].payload != `{"operation":"UPDATE","row":{"id":1,"name":"x","size":3}}` {
		t.Errorf("%v", got)
	}
}

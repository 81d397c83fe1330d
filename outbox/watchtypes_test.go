package outbox_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
	"github.com/runnel-cdc/runnel/schemas/gen"
)

// columnTypes are the types that events can hold: the Avro type, and values as
// they are and at their limits.
var columnTypes = []struct {
	sql, avro string
	values    []string
}{
	{"boolean", `"boolean"`, []string{"true", "false"}},
	{"smallint", `"int"`, []string{"-32768", "32767"}},
	{"integer", `"int"`, []string{"-2147483648", "2147483647"}},
	{"bigint", `"long"`, []string{"-9223372036854775808", "9223372036854775807"}},
	{"real", `"float"`, []string{"0.1", "'NaN'", "'-Infinity'", "3.4028235e38", "1e-45"}},
	{"float8", `"double"`, []string{"0.1", "'Infinity'", "5e-324", "1.7976931348623157e308", "-0.0"}},
	{"numeric(12,2)", `{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}`, []string{"0", "-0.01", "9999999999.99"}},
	{"numeric(38)", `{"type":"bytes","logicalType":"decimal","precision":38,"scale":0}`, []string{strings.Repeat("9", 38)}},
	{"numeric(2,-3)", `{"type":"bytes","logicalType":"decimal","precision":5,"scale":0}`, []string{"99000", "-1000"}},
	{"numeric(2,5)", `{"type":"bytes","logicalType":"decimal","precision":5,"scale":5}`, []string{"0.00099"}},
	{"numeric(1000,500)", `{"type":"bytes","logicalType":"decimal","precision":1000,"scale":500}`, []string{"1e499 + 1e-500"}},
	{"text", `"string"`, []string{"''", `E'\\ " \' \n \t \u001f ü ☃ 😀'`}},
	{"varchar(30)", `"string"`, []string{"'x'"}},
	{"char(7)", `"string"`, []string{"'x'", "' y'"}},
	{"name", `"string"`, []string{"'x'"}},
	{"json", `"string"`, []string{`'{"b" : 1,"a":"\u0001", "b":2}'`, `'null'`}},
	{"jsonb", `"string"`, []string{`'{"b":1,"a":[2, null]}'`}},
	{"uuid", `{"type":"string","logicalType":"uuid"}`, []string{"'0190163D-8694-739B-AEA5-966C26F8AD91'"}},
	{"date", `{"type":"int","logicalType":"date"}`, []string{"'2026-11-21'", "'4713-01-01 BC'", "'5874897-12-31'"}},
	{"time", `{"type":"long","logicalType":"time-micros"}`, []string{"'00:00'", "'23:59:59.999999'"}},
	{"timestamp(3)", `{"type":"long","logicalType":"local-timestamp-micros"}`, []string{"'2026-11-21 14:50:10.123'", "'4713-01-01 BC'"}},
	{"timestamptz", `{"type":"long","logicalType":"timestamp-micros"}`, []string{"'2026-11-21 14:50:10.123456+01'", "'1801-02-03 04:05:06+00'", "'4713-01-01 00:00+00 BC'", "'294246-12-31 23:59:59.999999+00'"}},
	{"bytea", `"bytes"`, []string{"''", `'\x00'`, `'\x5c7830305c'`, `'\xff80417f'`}},
	{"mood", `{"type":"enum","name":"ThingAppMood","symbols":["sad","so_so","Happy"]}`, []string{"'sad'", "'Happy'"}},
	{"other.mood", `{"type":"enum","name":"ThingOtherMood","symbols":["up"]}`, []string{"'up'"}},
	{"odd", `"string"`, []string{"'not a name'"}},
	{"price", `{"type":"bytes","logicalType":"decimal","precision":6,"scale":3}`, []string{"12.345"}},
	{"int[]", `{"type":"array","items":["null","int"]}`, []string{"'{}'", "'{1,null,-1}'"}},
	{"text[]", `{"type":"array","items":["null","string"]}`, []string{`array['a"',null,'{']`}},
	{"char(3)[]", `{"type":"array","items":["null","string"]}`, []string{`'{a,null}'`}},
	{"numeric(4,1)[]", `{"type":"array","items":["null",{"type":"bytes","logicalType":"decimal","precision":4,"scale":1}]}`, []string{"'{1.5,null}'"}},
	{"float8[]", `{"type":"array","items":["null","double"]}`, []string{"'{0.1,NaN,null}'"}},
	{"bytea[]", `{"type":"array","items":["null","bytes"]}`, []string{`array['\x00ff'::bytea,'',null]`, "'{}'"}},
	{"date[]", `{"type":"array","items":["null",{"type":"int","logicalType":"date"}]}`, []string{"'{2026-11-21,null}'"}},
	{"timestamptz[]", `{"type":"array","items":["null",{"type":"long","logicalType":"timestamp-micros"}]}`, []string{"'{2026-11-21 00:00+00,null}'"}},
	{"mood[]", `{"type":"array","items":["null",{"type":"enum","name":"ThingAppMood","symbols":["sad","so_so","Happy"]}]}`, []string{"'{sad,null}'"}},
	{"json[]", `{"type":"array","items":["null","string"]}`, []string{`array['{"a": 1}'::json, null]`}},
	{"jsonb[]", `{"type":"array","items":["null","string"]}`, []string{`array['{"a": 1}'::jsonb]`}},
	{"uuids", `{"type":"array","items":["null",{"type":"string","logicalType":"uuid"}]}`, []string{"'{0190163d-8694-739b-aea5-966c26f8ad91,null}'"}},
}

const typesDDL = `create schema other; create type mood as enum ('sad', 'so_so', 'Happy'); create type other.mood as enum ('up');
	create type odd as enum ('fine', 'not a name'); create domain plain as numeric(6,3); create domain price as plain; create domain uuids as uuid[];`

// Every type, NULL and not, is in the schema as it should be; each value comes out
// of the transcoder as the table has it, under session settings that change how
// Postgres writes values.
func TestWatchTypes(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.Exec(t, "grant create on database "+s.Name()+" to "+s.Role("shop"))
	s.run(t, typesDDL)
	ddl, asJSON := "create table things (id int primary key", "to_jsonb(t)"
	var names []string
	for i, c := range columnTypes {
		name := "c" + string(rune('a'+i/26)) + string(rune('a'+i%26))
		names = append(names, name)
		ddl += ", " + name + " " + c.sql
		switch c.sql { // what to_jsonb gives otherwise
		case "json", "jsonb":
			asJSON += " || jsonb_build_object('" + name + "', t." + name + "::text)"
		case "char(7)":
			asJSON += " || jsonb_build_object('" + name + "', rtrim(t." + name + "))"
		case "json[]", "jsonb[]", "char(3)[]":
			asJSON += " || jsonb_build_object('" + name + "', t." + name + "::text[])"
		}
	}
	s.run(t, ddl+")")
	catalog := s.catalog(t, "things", outbox.TableOptions{AggregateType: "thing"})
	if _, err := gen.Go(catalog, gen.Options{Package: "things"}); err != nil {
		t.Error(err)
	}
	changed, _ := catalog.Event("ThingChanged")
	row := field(t, changed.Schema, "row")
	for i, c := range columnTypes {
		f, _ := row.Field(names[i])
		want, err := schemas.Parse([]byte(c.avro), "")
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Type.Branches[1].Normalised(); got != want.Normalised() || string(f.Default) != "null" {
			t.Errorf("%s: %s, want %s", c.sql, got, c.avro)
		}
	}
	s.run(t, "select runnel.watch('things', 'thing')")
	s.run(t, "set extra_float_digits = -5; set bytea_output = escape; set datestyle = 'SQL, DMY'; set timezone = 'Europe/Amsterdam'; set intervalstyle = iso_8601; set standard_conforming_strings = off")
	id := 0
	for i, c := range columnTypes {
		for _, v := range append(c.values, "null") {
			id++
			s.run(t, "set standard_conforming_strings = on")
			sql := "insert into things (id, " + names[i] + ") values ($1, " + v + ")"
			if _, err := s.conn.Exec(t.Context(), sql, id); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
	}
	s.run(t, "reset all; update things set id = id + 1000")
	copied := replica{}
	copied.apply(t, catalog, s.changes(t))
	copied.equals(t, s, catalog, "ThingChanged", "app.things", "t.id::text", asJSON)
	if len(copied) != id {
		t.Errorf("%d rows, want %d", len(copied), id)
	}
}

// A NOT NULL column is no union, except one that joins later (see watchalter_test.go).
func TestTableSchemas(t *testing.T) {
	t.Parallel()
	s := newShop(t, `create table "order-lines" (line int, "order" bigint, note text, primary key ("order", line));
		comment on table "order-lines" is 'What is "ordered".'; comment on column "order-lines".note is 'Of the packer.'`)
	yes := true
	all, err := outbox.TableSchemas(t.Context(), s.conn, `app."order-lines"`, outbox.TableOptions{AggregateType: "order_line", Before: &yes})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range all {
		got = append(got, s.Definition)
	}
	want := []string{
		`{"type":"enum","name":"RowOperation","symbols":["INSERT","UPDATE","FIRST_STATE"],"default":"UPDATE","doc":"What happened to a row; whatever it was, the row is now as the event has it."}`,
		`{"type":"record","name":"OrderLineRow","fields":[{"name":"line","type":"int"},{"name":"order","type":"long"},{"name":"note","type":["null","string"],"default":null,"doc":"Of the packer."}],"doc":"What is \"ordered\"."}`,
		`{"type":"record","name":"OrderLineKey","fields":[{"name":"order","type":"long"},{"name":"line","type":"int"}]}`,
		`{"type":"record","name":"OrderLineChanged","fields":[{"name":"operation","type":"RowOperation"},{"name":"row","type":"OrderLineRow","doc":"The row as it is now."},{"name":"before","type":["null","OrderLineRow"],"default":null,"doc":"The row as it was; null for one that is new."}],"aggregate":"order_line","doc":"What is \"ordered\"."}`,
		`{"type":"record","name":"OrderLineDeleted","fields":[{"name":"key","type":"OrderLineKey","doc":"Which row is gone."},{"name":"before","type":["null","OrderLineRow"],"default":null,"doc":"The row as it was."}],"aggregate":"order_line"}`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	s.catalog(t, `app."order-lines"`, outbox.TableOptions{AggregateType: "order_line", Before: &yes})
}

func TestNotWatchable(t *testing.T) {
	t.Parallel()
	s := newShop(t, `create table good (id int primary key, x text);
		create view v as select * from good; create materialized view mv as select * from good;
		create table keyless (id int); create sequence seq; create unlogged table loose (id int primary key);
		create temp table passing (id int primary key);
		create table parent (id int primary key); create table child () inherits (parent);
		create table whole (id int primary key) partition by range (id); create table part partition of whole default;
		create type pair as (a int, b int)`)
	s.Exec(t, "create extension if not exists file_fdw; create server files foreign data wrapper file_fdw; create foreign table app.outside (id int) server files options (filename '/dev/null'); alter foreign table app.outside owner to "+s.Role("shop"))
	watch := func(table, code, text string, more ...string) {
		t.Helper()
		refused(t, s.conn, code, text, "select runnel.watch('"+table+"', 'some'"+strings.Join(append([]string{""}, more...), ", ")+")")
	}
	watch("v", "RN007", "app.v cannot be watched: it is a view")
	watch("mv", "RN007", "materialized view")
	watch("outside", "RN007", "foreign table")
	watch("seq", "RN007", "it is no table")
	watch("loose", "RN007", "unlogged")
	watch("passing", "RN007", "temporary")
	watch("parent", "RN007", "other tables inherit from it")
	watch("runnel.event_type", "RN007", "it belongs to Runnel")
	watch("keyless", "RN007", "table app.keyless has no primary key Name the columns")
	watch("good", "RN007", "table app.good has no column nope to be its key", "key => 'nope'")
	watch("good", "RN007", "no column nope, which is to be left out", "exclude => '{nope}'")
	watch("good", "RN007", "column id of table app.good is part of the key", "exclude => '{id}'")
	refused(t, s.conn, "42P01", "", "select runnel.watch('nothing', 'some')")
	refused(t, s.conn, "RN004", "the table is missing", "select runnel.watch(null, 'some')")
	for _, name := range []string{"", "1st", "ä", "a b", strings.Repeat("x", 181)} {
		refused(t, s.conn, "RN004", "aggregate must be a name", "select runnel.watch('good', $1)", name)
	}

	s.run(t, "select runnel.watch('whole', 'whole')")
	watch("part", "RN007", "it is a partition of a table that is watched")
	s.run(t, "select runnel.unwatch('whole'); select runnel.watch('part', 'part')")
	watch("whole", "RN007", "a partition of it is watched by itself")

	// Twice: the same again is fine, another aggregate or key is not.
	s.run(t, "select runnel.watch('good', 'good-one', key => 'id'); select runnel.watch('good', 'good-one'); select runnel.watch('good', key => 'id')")
	watch("good", "RN010", "table app.good is watched already, as aggregate good-one with key id To begin anew: select runnel.unwatch('app.good');")
	refused(t, s.conn, "RN010", "is watched already", "select runnel.watch('good', key => 'x')")
	s.run(t, "create table better (id int primary key)")
	refused(t, s.conn, "RN010", "table app.good is watched as aggregate good-one already", "select runnel.watch('better', 'good_one')")
	s.run(t, "drop table good cascade; select runnel.watch('better', 'good_one')") // it is free again

	for typ, reason := range map[string]string{
		"numeric":        "give it one: numeric(precision, scale)",
		"numeric[]":      "give it one",
		"interval":       "an interval has no exact Avro type",
		"timetz":         "a time of day with a zone",
		"inet":           "type inet has no Avro type",
		"money":          "type money",
		"int4range":      "type int4range",
		"tsvector":       "type tsvector",
		"point":          "type point",
		"pair":           "type app.pair",
		"oid":            "type oid",
		"xml":            "type xml",
		"bit(3)":         "type bit(3)",
		"oidvector":      "type oidvector",
		"int4multirange": "type int4multirange",
	} {
		s.run(t, "drop table if exists odd; create table odd (id int primary key, c "+typ+", d text)")
		watch("odd", "RN007", reason)
		watch("odd", "RN007", "or leave it out: exclude => array['c']")
		_, err := outbox.TableSchemas(t.Context(), s.conn, "odd", outbox.TableOptions{AggregateType: "odd"})
		if f := fault.Find(err); !errors.Is(err, outbox.ErrNotWatchable) || !strings.Contains(err.Error(), "column c of table app.odd") || !strings.Contains(f.WhatToDo(), "exclude") {
			t.Errorf("%s: %v", typ, err)
		}
		var pg *pgconn.PgError
		_, err = s.conn.Exec(t.Context(), "select runnel.watch('odd', 'odd', exclude => array['d'])")
		if !errors.As(err, &pg) || !strings.Contains(pg.Hint, "exclude => array['d','c'] (--exclude d,c)") {
			t.Errorf("%s: the hint forgets what is left out already: %v", typ, err)
		}
		s.run(t, "select runnel.watch('odd', 'odd', exclude => array['c']); insert into odd (id) values (1); select runnel.unwatch('odd')")
	}
	for ddl, reason := range map[string]string{
		`"a b" int`:                 `column "a b" of table app.odd cannot be published: its name is no name of Avro`,
		`"1a" int`:                  "its name",
		`"ü" int`:                   "its name",
		"f float8, unique (f)":      "",
		"k float8, primary key (k)": "cannot be a key",
		"k int[], primary key (k)":  "cannot be a key",
		"k jsonb, primary key (k)":  "",
	} {
		s.run(t, "drop table if exists odd; create table odd (id int, "+ddl+")")
		key := "null"
		if !strings.Contains(ddl, "primary") {
			key = "'id'"
		}
		if reason != "" {
			watch("odd", "RN007", reason, "key => "+key)
		} else {
			s.run(t, "select runnel.watch('odd', 'odd', key => "+key+"), runnel.unwatch('odd')")
		}
	}

	if pgtest.Value[int](t, s.DB, "select current_setting('server_version_num')::int") >= 180000 {
		s.run(t, "drop table odd; create table odd (id int primary key, c int generated always as (id) virtual)")
		watch("odd", "RN007", "a virtual generated column has no value in a trigger; make it STORED")
		s.run(t, "select runnel.watch('odd', 'odd', exclude => '{c}'); insert into odd values (1)")
	}

	for table, want := range map[string]error{"app.nothing": outbox.ErrNotWatchable, "a b c": outbox.ErrNotWatchable, "": outbox.ErrNotWatchable,
		"v": outbox.ErrNotWatchable, "better": outbox.ErrWatchedOtherwise, "part": outbox.ErrWatchedOtherwise, "child": outbox.ErrNotWatchable} {
		if _, err := outbox.TableSchemas(t.Context(), s.conn, table, outbox.TableOptions{AggregateType: "x"}); !errors.Is(err, want) {
			t.Errorf("%s: %v", table, err)
		}
	}
	s.run(t, "create table fresh (id int primary key)")
	if _, err := outbox.TableSchemas(t.Context(), s.conn, "fresh", outbox.TableOptions{}); !errors.Is(err, outbox.ErrInvalid) {
		t.Error(err)
	}
}

// What Avro does not have is refused in the writer's own transaction.
func TestRefusedValues(t *testing.T) {
	t.Parallel()
	s := newShop(t, "create type mood as enum ('sad')")
	for _, c := range []struct{ typ, value, text string }{
		{"numeric(5,2)", "'NaN'", "column c holds what its events cannot: a value that Avro does not have"},
		{"date", "'infinity'", "column c"}, {"date", "'-infinity'", "column c"},
		{"time", "'24:00'", "column c"},
		{"timestamp", "'infinity'", "column c"}, {"timestamp", "'294247-01-01'", "column c"},
		{"timestamptz", "'-infinity'", "column c"}, {"timestamptz", "'294250-01-01 00:00+00'", "column c"},
		{"int[]", "'{{1,2}}'", "more than one dimension"}, {"int[]", "'[0:1]={1,2}'", "a first index other than 1"},
		{"numeric(3,1)[]", "'{1,NaN}'", "column c"}, {"date[]", "'{null,infinity}'", "column c"}, {"time[]", "'{24:00}'", "column c"},
		{"timestamptz[]", "'{null,infinity}'", "column c"}, {"timestamp[]", "'{-infinity}'", "column c"},
	} {
		s.run(t, "create table odd (id int primary key, c "+c.typ+"); insert into odd values (0, "+c.value+"); select runnel.watch('odd', 'odd')")
		refused(t, s.conn, "RN008", c.text, "insert into odd values (1, "+c.value+")")
		_, err := s.conn.Exec(t.Context(), "update odd set id = id + 1")
		if !errors.Is(outbox.Explain(err), outbox.ErrRowRefused) || !strings.Contains(fault.Find(outbox.Explain(err)).WhatToDo(), "exclude") {
			t.Errorf("%s: %v", c.typ, err)
		}
		refused(t, s.conn, "RN008", c.text, "call runnel.publish_rows('odd')")
		s.run(t, "update odd set c = null; drop table odd") // there is a way out
	}
	s.run(t, "create table big (id text primary key, c text, d bytea, e float8[], f json); select runnel.watch('big', 'big', max_bytes => 100000)")
	refused(t, s.conn, "RN008", "the event of row 1 may have 1", "insert into big values ('1', repeat('x', 100000))")
	refused(t, s.conn, "RN008", "100000 are admitted", "insert into big (id, e) values ('1', array_fill(0::float8, array[12000]))")
	refused(t, s.conn, "RN008", "0 bytes as text", "insert into big (id) values ('')")
	refused(t, s.conn, "RN008", "1025 bytes as text", "insert into big (id) values (repeat('x', 1025))")
	s.run(t, `insert into big values ('1', repeat('"', 90000)), ('2', repeat(E'\x01', 90000)), ('3', '')`) // large as JSON only
	s.run(t, `update big set c = null, d = decode(repeat('00', 90000), 'hex'); update big set d = null, e = array_fill(0.1::float8, array[8000])`)
	catalog := s.catalog(t, "big", outbox.TableOptions{})
	event, _ := catalog.Event("BigChanged")
	for _, c := range s.changes(t) {
		if c.aggregate != "big" || c.typ != "BigChanged" {
			continue
		}
		if data, err := schemas.AppendJSONToAvro(nil, event.Schema, []byte(c.payload)); err != nil || len(data) > 100000 {
			t.Errorf("%d bytes of Avro: %v", len(data), err)
		}
	}
}

// Names of types are made of the aggregate's and the enum's: no two types have one,
// in a table, in all watched tables, and with what they share.
func TestWatchTypeNames(t *testing.T) {
	t.Parallel()
	s := newShop(t, `create type item_status as enum ('sold'); create type status as enum ('new', 'gone'); create type operation as enum ('add'); create type "itemStatus" as enum ('x');
		create table orders (id int primary key, s item_status); create table items (id int primary key, s status, n int); create table rows (id int primary key, o operation);
		create table twice (id int primary key, a item_status, b "itemStatus"); create table keys (id int primary key)`)
	s.run(t, "select runnel.watch('orders', 'order')")
	const taken = "type OrderItemStatus of table app.items would have the name of a type of app.orders"
	refused(t, s.conn, "RN007", taken, "select runnel.watch('items', 'order_item')")
	if _, err := outbox.TableSchemas(t.Context(), s.conn, "items", outbox.TableOptions{AggregateType: "order_item"}); !errors.Is(err, outbox.ErrNotWatchable) || !strings.Contains(err.Error(), taken) {
		t.Error(err)
	}
	refused(t, s.conn, "RN007", "type TwiceAppItemStatus of table app.twice would have the name of a type of column a", "select runnel.watch('twice', 'twice')")
	s.run(t, "select runnel.watch('items', 'order_item', exclude => '{s}'), runnel.watch('rows', 'row')")
	s.run(t, "insert into rows values (1, 'add')")
	catalog := s.catalog(t, "rows", outbox.TableOptions{})
	replica{}.apply(t, catalog, s.changes(t))
	if event, ok := catalog.Event("RowChanged"); !ok || !strings.Contains(event.JSON, "RowAppOperation") {
		t.Error("the enum has not taken its schema's name")
	}
	// What is watched keeps its names to itself, also when a column joins.
	refused(t, s.conn, "RN007", taken, "select runnel.watch('items', exclude => '{}')")
	s.run(t, "drop table orders; select runnel.watch('items', exclude => '{}')") // they are free again

	// A column that is gone has the labels of those that are there.
	s.run(t, "create table pairs (id int primary key, a status, b status); select runnel.watch('pairs', 'pair'); alter table pairs drop a")
	s.run(t, "alter type status add value 'back'")
	s.run(t, "select runnel.watch('pairs'); insert into pairs values (1, 'back')")
	catalog = s.catalog(t, "pairs", outbox.TableOptions{})
	changes := s.changes(t)
	replica{}.apply(t, catalog, changes[len(changes)-1:])
}

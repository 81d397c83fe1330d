package doctor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
)

func TestWatchedTablesCheck(t *testing.T) {
	db := pgtest.New(t)
	dir := folder(t, placed)
	initialise(t, db, dir)
	db.Exec(t, `alter role "`+db.Role("daemon")+`" password 'of-a-test'`)
	cfg := configure(t, db.URLAs(db.Role("daemon"), "of-a-test"), "", dir)
	expect := func(status Status, code string, texts ...string) Result {
		t.Helper()
		report, err := Run(t.Context(), cfg, "watched-tables")
		if err != nil {
			t.Fatal(err)
		}
		r := find(t, report, "watched-tables")
		for _, text := range texts {
			if !strings.Contains(r.Message+"\n"+r.Remedy, text) {
				t.Errorf("%+v; want %q", r, text)
			}
		}
		if r.Status != status || r.Code != code {
			t.Errorf("%+v; want %s %s", r, status, code)
		}
		return r
	}
	expect(Pass, "", "no table is watched")
	db.Exec(t, `create table public.items (id int primary key, name text);
		select runnel.watch('public.items', 'item', check_schema => false); select runnel.publish_begin('public.items')`)
	expect(Pass, "", "1 table watched: public.items (first state: 0 rows so far)")
	db.Exec(t, "alter table public.items rename name to title")
	expect(Warn, "WATCHED_TABLE_ALTERED", "column name is called title now; its field stays name", "select runnel.watch('public.items');")
	db.Exec(t, "alter table public.items add size int, add weight numeric(5,1)")
	r := expect(Fail, "WATCHED_TABLE_ALTERED",
		`column size has joined and is not in the events; ItemRow needs {"name":"size","type":["null","int"],"default":null}`,
		`ItemRow needs {"name":"weight","type":["null",{"type":"bytes","logicalType":"decimal","precision":5,"scale":1}],"default":null}`,
		"runnel schemas gen avsc --from-table public.items --out DIR --force", "call runnel.publish_rows('public.items');")
	if strings.Count(r.Remedy, "gen avsc") != 1 {
		t.Errorf("a remedy is given twice: %s", r.Remedy)
	}
	db.Exec(t, "drop table public.items")
	expect(Fail, "WATCHED_TABLE_ALTERED", "was dropped", "select runnel.unwatch('")
}

func TestJudgeWatchedTables(t *testing.T) {
	table := outbox.WatchedTable{Name: "a.b", FirstState: &outbox.FirstState{Finished: time.Now()}}
	if saw, err := judgeWatchedTables([]outbox.WatchedTable{table}); err != nil || saw != "1 table watched: a.b" {
		t.Errorf("%s, %v", saw, err)
	}
	var w warning
	table.Problems = []outbox.WatchProblem{{Message: "slow", Remedy: "one"}, {Message: "slower", Remedy: "one"}}
	if _, err := judgeWatchedTables([]outbox.WatchedTable{table}); !errors.As(err, &w) || fault.Find(err).WhatToDo() != "one" {
		t.Error(err)
	}
	table.Problems = append(table.Problems, outbox.WatchProblem{Fatal: true, Message: "lost", Remedy: "two"})
	_, err := judgeWatchedTables([]outbox.WatchedTable{table, table})
	if errors.As(err, &w) || !errors.Is(err, outbox.ErrTableAltered) || !strings.Contains(err.Error(), "slow; slower; lost") {
		t.Error(err)
	}
}

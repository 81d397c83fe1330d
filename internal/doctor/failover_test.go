package doctor

import (
	"errors"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/walwatch"
)

func TestJudgeFailover(t *testing.T) {
	for name, c := range map[string]struct {
		f    failover
		code *fault.Code
		text string
	}{
		"a standby that is gone":  {failover{170000, true, true, []string{"a", "b"}, []string{"b"}}, walwatch.ErrStandbyAwaited, "waits for b"},
		"an older server":         {failover{160000, true, false, nil, nil}, nil, "before Postgres 17"},
		"a slot of a former time": {failover{180000, true, false, nil, nil}, ErrSlotNotForFailover, "ALTER_REPLICATION_SLOT s (FAILOVER true)"},
		"no standby is awaited":   {failover{180000, true, true, nil, nil}, nil, "may be ahead of every standby"},
		"no slot yet":             {failover{180000, false, false, nil, nil}, nil, "the first `runnel run`"},
		"all is well":             {failover{180000, true, true, []string{"a"}, nil}, nil, "by a standby that has a"},
	} {
		saw, err := c.f.judge("s")
		if f := fault.Find(err); f != nil {
			saw = f.Error() + f.WhatToDo()
		}
		if c.code == nil && err != nil || c.code != nil && !errors.Is(err, c.code) || !strings.Contains(saw, c.text) {
			t.Errorf("%s: %s, %v", name, saw, err)
		}
	}
}

// The query works with every version, whether the slot is there or not.
func TestCheckFailover(t *testing.T) {
	db := pgtest.New(t)
	dir := folder(t, placed)
	initialise(t, db, dir)
	cfg := configure(t, db.URL(), "", dir)
	report, err := Run(t.Context(), cfg, "failover")
	if err != nil {
		t.Fatal(err)
	}
	r := find(t, report, "failover")
	if r.Status != Pass {
		t.Errorf("%+v", r)
	}
	if old := pgtest.Value[bool](t, db, "select current_setting('server_version_num')::int < 170000"); old != strings.Contains(r.Message, "before Postgres 17") {
		t.Errorf("%+v", r)
	}
}

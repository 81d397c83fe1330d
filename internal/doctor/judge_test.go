package doctor

import (
	"errors"
	"testing"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/fault"
)

// What a test cannot do to a shared server, judged from its values.
func TestJudgements(t *testing.T) {
	slot := capture.Slot{Name: "s", Exists: true, Plugin: "pgoutput", Database: "d", Logical: true, Active: true, WALStatus: "reserved"}
	with := func(change func(*capture.Slot)) capture.Slot {
		x := slot
		change(&x)
		return x
	}
	judge := func(_ string, err error) error { return err }
	for name, tc := range map[string]struct {
		err  error
		code *fault.Code
		warn bool
	}{
		"no slot free":        {judge(judgeSenders(1, 10, 10, 10, false)), capture.ErrNoSlot, false},
		"no walsender free":   {judge(judgeSenders(10, 10, 1, 10, false)), capture.ErrNoWALSender, false},
		"one walsender free":  {judge(judgeSenders(9, 10, 1, 10, false)), ErrSendersShort, true},
		"full, ours is there": {judge(judgeSenders(8, 10, 10, 10, true)), nil, false},
		"slot lost":           {judge(judgeSlot(with(func(s *capture.Slot) { s.WALStatus = "lost" }), "s", "p", "d", nil)), capture.ErrSlotLost, false},
		"other database":      {judge(judgeSlot(slot, "s", "p", "e", nil)), capture.ErrSlotForeign, false},
		"slot fine":           {judge(judgeSlot(slot, "s", "p", "d", nil)), nil, false},
		"nothing to warn of":  {warn(nil), nil, false},
	} {
		var w warning
		if tc.code == nil && tc.err != nil || tc.code != nil && !errors.Is(tc.err, tc.code) || errors.As(tc.err, &w) != tc.warn {
			t.Errorf("%s: %v", name, tc.err)
		}
	}
}

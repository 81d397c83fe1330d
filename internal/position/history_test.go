package position

import "testing"

func TestHistoryHolds(t *testing.T) {
	h := History{{1, 100, 100}, {3, 500, 500}, {4, 900, 900}}
	for _, c := range []struct {
		epoch uint32
		lsn   uint64
		want  bool
	}{
		{1, 99, true}, {1, 499, true}, {1, 500, false}, {1, 2000, false},
		{2, 450, false}, {2, 600, false}, // of a timeline that was given up
		{3, 500, true}, {3, 899, true}, {3, 900, false},
		{4, 900, true}, {4, 1 << 60, true}, {5, 950, false}, {0, 1, false},
	} {
		if got := h.Holds(Position{Epoch: c.epoch, LSN: c.lsn}); got != c.want {
			t.Errorf("epoch %d, LSN %d: %v", c.epoch, c.lsn, got)
		}
	}
	moved := History{{1, 100, 100}, {2, 0, 700}} // to a server whose LSNs begin anew
	for lsn, want := range map[uint64]bool{99: true, 699: true, 700: false, 5000: false} {
		if got := moved.Holds(Position{Epoch: 1, LSN: lsn}); got != want {
			t.Errorf("before the move, LSN %d: %v", lsn, got)
		}
	}
	if !History(nil).Holds(Position{Epoch: 7, LSN: 7}) || h.Newest() != 4 || History(nil).Newest() != 0 {
		t.Error("the empty history, or the newest epoch")
	}
}

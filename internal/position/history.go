package position

// Era is where an epoch begins in the history of a source database.
type Era struct {
	Epoch uint32
	Begin uint64 // LSN at which it begins, of its own server
	// Before is the LSN of the era before at which that one ends: what it committed there
	// or later is lost. 0: at Begin, where this era forked from it, on the same server.
	// LSNs of another server say nothing about it.
	Before uint64
}

// ends is the LSN of the era before at which that one ends.
func (e Era) ends() uint64 {
	if e.Before == 0 {
		return e.Begin
	}
	return e.Before
}

// History are the eras that lead to what a database holds now, in order. What was
// published under another epoch, or beyond a fork, the database has lost: by a failover
// to a standby that lagged, or a restored backup. The empty History holds everything.
type History []Era

// Holds reports whether the history holds what was committed at p.
func (h History) Holds(p Position) bool {
	if len(h) == 0 {
		return true
	}
	for i, e := range h {
		if e.Epoch == p.Epoch {
			return i+1 == len(h) || p.LSN < h[i+1].ends()
		}
	}
	return false
}

// Newest returns the last epoch; 0 for the empty History.
func (h History) Newest() uint32 {
	if len(h) == 0 {
		return 0
	}
	return h[len(h)-1].Epoch
}

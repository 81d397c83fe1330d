package consumertest

import "time"

// SetStuck shortens the time after which a projection that does nothing is stuck.
func (h *Harness) SetStuck(hint, limit time.Duration) { h.stuckHint, h.stuckLimit = hint, limit }

// Deaths is what Crash remembers of a partition.
type Deaths struct{ d *deaths }

func NewDeaths() Deaths { return Deaths{newDeaths()} }

// BeforeCommit reports whether a transaction is to die that leaves this behind it.
func (d Deaths) BeforeCommit(ordinal, parked int64) bool {
	return d.d.beforeCommit(commit{ordinal, parked})
}

// BeforeAck reports whether the acknowledgement of so many messages is to be lost.
func (d Deaths) BeforeAck(messages int64) bool { return d.d.beforeAck(messages) }

package consumertest

import "time"

// SetStuck shortens the time after which a projection that does nothing is stuck.
func (h *Harness) SetStuck(hint, limit time.Duration) { h.stuckHint, h.stuckLimit = hint, limit }

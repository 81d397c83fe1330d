package pipeline

import (
	"os"
	"runtime/debug"
)

// baseMemory is what a daemon needs besides what is in flight.
const baseMemory = 56 << 20

// LimitMemory has the garbage collector work more often rather than let the
// process grow to twice what it holds. inFlight is Config.InFlight, in bytes. A
// limit that the environment sets (GOMEMLIMIT) stays. It holds for the process.
func LimitMemory(inFlight int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(baseMemory + inFlight)
	}
}

package pipeline

import (
	"bytes"
	"os"
	"runtime/debug"
	"strconv"
)

// baseMemory is what a daemon needs besides what is in flight.
const baseMemory = 40 << 20

// LimitMemory has the garbage collector work more often rather than let the
// process grow to twice what it holds. inFlight is Config.InFlight, in bytes. Where
// the process' control group may have less, a tenth of that is left for what is not
// on the heap. A limit that the environment sets (GOMEMLIMIT) stays. It holds for
// the process.
func LimitMemory(inFlight int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit(inFlight, groupFiles))
	}
}

// groupFiles tell how much memory the process' control group may have, as it is seen
// from inside a container: version 2 and version 1.
// (https://docs.kernel.org/admin-guide/cgroup-v2.html, "memory.max")
var groupFiles = []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}

func memoryLimit(inFlight int64, files []string) int64 {
	limit := baseMemory + inFlight
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		if group, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64); err == nil && group > 0 { // or "max"
			limit = min(limit, group/10*9)
		}
	}
	return limit
}

package torture

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// memoryBound is the most that a daemon may use with its default settings,
// whatever it publishes.
const memoryBound = 128 << 20

// watchMemory keeps the most that the process used, until it is gone.
func (p *process) watchMemory() {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		p.peak.Store(max(p.peak.Load(), peakMemory(p.PID())))
		select {
		case <-p.Done():
			return
		case <-tick.C:
		}
	}
}

// peakMemory reads VmHWM; 0 when the process is gone.
func peakMemory(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err == nil {
				return kib << 10
			}
		}
	}
	return 0
}

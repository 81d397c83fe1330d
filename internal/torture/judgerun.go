package torture

import (
	"maps"
	"slices"
	"strings"
)

// run requires that the run proves something, and that every fault ended well.
func (j *judge) run() {
	if !j.Run.Drained {
		j.v.add(CheckLiveness, "the lag was not zero %d ms after the last fault", j.Run.DrainMillis)
	}
	if j.Run.PeakMemory > memoryBound {
		j.v.add(CheckMemory, "the daemon used %d MiB, the bound is %d MiB", j.Run.PeakMemory>>20, memoryBound>>20)
	}
	for _, line := range slices.Sorted(maps.Values(j.Run.Guards)) {
		j.v.add(CheckGuard, "%s", line)
	}
	for _, text := range j.Run.Refused {
		j.v.add(CheckWrites, "%s", text)
	}
	j.vacuous()
	for i := range j.Faults {
		j.fault(&j.Faults[i])
	}
}

// vacuous requires that there was something to find, apart from the faults.
func (j *judge) vacuous() {
	if len(j.Truth) < j.Run.MinEvents {
		j.v.add(CheckVacuous, "%d events, the minimum is %d", len(j.Truth), j.Run.MinEvents)
	}
	if len(j.Samples) == 0 {
		j.v.add(CheckVacuous, "the slot was never looked at")
	}
	if j.Run.PeakMemory == 0 {
		j.v.add(CheckVacuous, "the daemons' memory was never looked at")
	}
	carried := 0
	for _, f := range j.Faults {
		if !f.synthetic() {
			carried++
		}
	}
	if carried < j.Run.Planned {
		j.v.add(CheckVacuous, "%d faults of %d", carried, j.Run.Planned)
	}
	// Every way to write has committed, where so many transactions did that it had to.
	committed, total := make(map[string]int), 0
	seen := make(map[string]bool)
	for i := range j.Truth {
		if tx := j.Truth[i].Tx; !seen[tx] {
			seen[tx] = true
			committed[tx[strings.LastIndexByte(tx, '-')+1:]]++
			total++
		}
	}
	weights := 0
	for _, k := range kinds() {
		weights += k.weight
	}
	for _, k := range kinds() {
		if k.name != kindRollback && committed[k.name] == 0 && total*k.weight > surely*weights {
			j.v.add(CheckVacuous, "of %d transactions none is of the kind %s", total, k.name)
		}
	}
	if n := committed[kindRollback]; n > 0 {
		j.v.add(CheckTruth, "%d transactions that were rolled back have truth rows", n)
	}
}

// surely is how many transactions of a kind are expected where none at all is no chance.
const surely = 25

// fault looks at one of them.
func (j *judge) fault(f *FaultRecord) {
	if f.Takeover > 0 {
		t := j.v.Takeovers[f.Fault]
		j.v.Takeovers[f.Fault] = Takeovers{Count: t.Count + 1, Longest: max(t.Longest, f.Takeover)}
	}
	if !f.OK {
		j.v.add(CheckFaults, "fault %d, %s: %s, want %s", f.N, f.Fault, f.Outcome, f.Expect)
	}
	switch {
	case f.synthetic():
		return
	case !f.Fired:
		j.v.add(CheckVacuous, "fault %d, %s, never fired", f.N, f.Fault)
		return
	}
	j.v.Fired++
	if !j.open(f) {
		j.v.add(CheckVacuous, "fault %d, %s: nothing was open when it fired", f.N, f.Fault)
	}
}

// open reports whether there was something that a fault could hurt.
func (j *judge) open(f *FaultRecord) bool {
	switch {
	case strings.HasPrefix(f.Rule, "consumers."):
		return true // a failpoint amid a transaction, or just behind it
	case ofCopy(f.Fault):
		return f.Behind > 0
	case strings.HasPrefix(f.Rule, "capture.confirmed:") && f.Hits["pipeline.sent"] > 0:
		return true // just after a confirmation nothing is meant to be open
	}
	for _, c := range j.Commits {
		// In the initial snapshot everything from before the slot is open.
		if (c.LSN >= f.Confirmed || f.Confirmed <= j.Run.ConsistentPoint) && c.LSN < f.WAL {
			return true
		}
	}
	return false
}

// What is recorded as a fault, and is none that was carried out.
const (
	faultStart = "start" // the first daemon did not get going
	faultCopy  = "copy"  // the projection ended by itself
)

func (f *FaultRecord) synthetic() bool { return f.Fault == faultStart || f.Fault == faultCopy }

// ofCopy reports whether a fault is the projection's.
func ofCopy(fault string) bool {
	return strings.HasPrefix(fault, "copy.") || strings.HasPrefix(fault, "kill@consumers.")
}

package torture

import (
	"sort"
	"strings"

	"github.com/runnel-cdc/runnel/internal/position"
)

// aggregate is a key within a topic: order holds there.
type aggregate struct{ topic, key string }

// order compares each aggregate's events with the order of their commits, and
// with the numbers that their writers gave them under a lock.
func (j *judge) order() {
	at := make(map[aggregate]int) // the partition
	last := make(map[aggregate]int)
	number := make(map[aggregate]int64)
	for i := range j.Topic {
		m := &j.Topic[i]
		a := aggregate{m.Topic, m.Key}
		if was, ok := at[a]; ok && was != m.Partition {
			j.v.add(CheckPartition, "aggregate %s of %s lies in partitions %d and %d", a.key, a.topic, was, m.Partition)
		}
		at[a] = m.Partition
		place, ok := j.place[m.ID]
		if !ok {
			continue
		}
		if was, ok := last[a]; ok && place < was {
			j.v.add(CheckOrder, "aggregate %s of %s: %s stands behind %s, which committed later", a.key, a.topic, m.ID, j.expected[was].id)
		}
		last[a] = place
		if row := j.byID[m.ID]; row != nil && row.N > 0 {
			if row.N <= number[a] {
				j.v.add(CheckOrder, "aggregate %s of %s: number %d after %d", a.key, a.topic, row.N, number[a])
			}
			number[a] = row.N
		}
	}
}

// reread compares the second reading with the first, message by message.
func (j *judge) reread() {
	split := func(all []TopicMessage) map[partitionKey][]*TopicMessage {
		out := make(map[partitionKey][]*TopicMessage)
		for i := range all {
			k := partitionKey{all[i].Topic, all[i].Partition}
			out[k] = append(out[k], &all[i])
		}
		return out
	}
	first, second := split(j.Topic), split(j.Again)
	for k, was := range first {
		now := second[k]
		if len(now) != len(was) {
			j.v.add(CheckReread, "%s-%d: %d messages, and %d after the restart", k.topic, k.partition, len(was), len(now))
		}
		for i := range min(len(was), len(now)) {
			if a, b := was[i], now[i]; a.ID != b.ID || a.Position != b.Position || a.Key != b.Key || string(a.Payload) != string(b.Payload) {
				j.v.add(CheckReread, "%s-%d: at %d event %s, and %s after the restart, or with other contents", k.topic, k.partition, i, a.ID, b.ID)
			}
		}
	}
	for k, now := range second {
		if len(first[k]) == 0 {
			j.v.add(CheckReread, "%s-%d: empty, and %d messages after the restart", k.topic, k.partition, len(now))
		}
	}
}

// confirmed requires that, whenever the slot stood at a position, everything
// that committed below it had been handed to the broker. A message carries the
// time at which its producer sent it; one that was sent again after a crash
// carries the later time, so a confirmation that ran ahead shows.
func (j *judge) confirmed() {
	published := make(map[string]int64, len(j.Topic))
	for i := range j.Topic {
		published[j.Topic[i].ID] = j.Topic[i].Published
	}
	byCommit := append([]expected(nil), j.expected...)
	sort.SliceStable(byCommit, func(a, b int) bool { return byCommit[a].lsn < byCommit[b].lsn })
	// latest[i] is when the last of the first i events was published.
	latest := make([]int64, len(byCommit)+1)
	for i, e := range byCommit {
		latest[i+1] = max(latest[i], published[e.id])
	}
	const clock = 1000 // the producer's clock counts milliseconds
	for _, s := range j.Samples {
		if s.Confirmed <= j.Run.ConsistentPoint {
			continue // where the slot began: the rows before it are kept by the pipeline's record
		}
		below := sort.Search(len(byCommit), func(i int) bool { return byCommit[i].lsn >= s.Confirmed })
		if at := latest[below]; at > s.At+clock {
			j.v.add(CheckConfirmed, "the slot stood at %s, %d ms before an event that committed below it was sent",
				position.Position{Epoch: j.Run.Epoch, LSN: s.Confirmed}, (at-s.At)/1000)
		}
	}
}

// copies folds the truth and compares.
func (j *judge) copies() {
	want := make(map[aggregate]*CopyAggregate)
	for _, e := range j.expected {
		row := j.byID[e.id]
		if row == nil {
			continue
		}
		a := aggregate{j.Run.Topics[row.Type], row.Key}
		if want[a] == nil {
			want[a] = &CopyAggregate{}
		}
		want[a].H = fold(want[a].H, row.ID, row.Hash)
		want[a].Applied++
	}
	for _, c := range j.Copies {
		a := aggregate{c.Topic, c.Key}
		switch w := want[a]; {
		case w == nil:
			j.v.add(CheckCopy, "aggregate %s of %s was never written", a.key, a.topic)
		case w.Applied != c.Applied:
			j.v.add(CheckCopy, "aggregate %s of %s: %d events were applied, want %d", a.key, a.topic, c.Applied, w.Applied)
		case w.H != c.H:
			j.v.add(CheckCopy, "aggregate %s of %s: its fold differs", a.key, a.topic)
		case c.Effects != nil && *c.Effects != w.Applied:
			j.v.add(CheckCopy, "aggregate %s of %s: %d events had their effect, want %d", a.key, a.topic, *c.Effects, w.Applied)
		}
		delete(want, a)
	}
	for a, w := range want {
		j.v.add(CheckCopy, "aggregate %s of %s with %d events is missing", a.key, a.topic, w.Applied)
	}
}

// fold is the next h = H(h || event): it shows every loss, repeat and swap.
func fold(h, id, hash string) string { return hashOf([]byte(h + id + hash)) }

// run requires that the run proves something, and that every fault ended well.
func (j *judge) run() {
	if !j.Run.Drained {
		j.v.add(CheckLiveness, "the lag was not zero %d ms after the last fault", j.Run.DrainMillis)
	}
	if j.Run.PeakMemory > memoryBound {
		j.v.add(CheckMemory, "the daemon used %d MiB, the bound is %d MiB", j.Run.PeakMemory>>20, memoryBound>>20)
	}
	if len(j.Truth) < j.Run.MinEvents {
		j.v.add(CheckVacuous, "%d events, the minimum is %d", len(j.Truth), j.Run.MinEvents)
	}
	if len(j.Samples) == 0 {
		j.v.add(CheckVacuous, "the slot was never looked at")
	}
	if len(j.Faults) < j.Run.Planned {
		j.v.add(CheckVacuous, "%d faults of %d", len(j.Faults), j.Run.Planned)
	}
	for _, f := range j.Faults {
		if f.Takeover > 0 {
			t := j.v.Takeovers[f.Fault]
			j.v.Takeovers[f.Fault] = Takeovers{Count: t.Count + 1, Longest: max(t.Longest, f.Takeover)}
		}
		if !f.Fired {
			j.v.add(CheckVacuous, "fault %d, %s, never fired", f.N, f.Fault)
			continue
		}
		open := 0
		if ofCopy(f.Fault) {
			open = len(j.Copies) // it applies what the daemon may have confirmed
		}
		for _, c := range j.Commits {
			// In the initial snapshot everything from before the slot is open.
			if (c.LSN >= f.Confirmed || f.Confirmed <= j.Run.ConsistentPoint) && c.LSN < f.WAL {
				open++
			}
		}
		// A kill just after a confirmation is meant to find nothing open.
		if open == 0 && !(strings.HasPrefix(f.Rule, "capture.confirmed:") && f.Hits["pipeline.sent"] > 0) {
			j.v.add(CheckVacuous, "fault %d, %s: every transaction was confirmed when it fired", f.N, f.Fault)
		}
		if !f.OK {
			j.v.add(CheckFaults, "fault %d, %s: %s, want %s", f.N, f.Fault, f.Outcome, f.Expect)
		}
	}
}

// ofCopy reports whether a fault is the projection's.
func ofCopy(fault string) bool {
	return strings.HasPrefix(fault, "copy.") || strings.HasPrefix(fault, "kill@consumers.")
}

package torture

import (
	"math"
	"slices"
	"sort"

	"github.com/runnel-cdc/runnel/internal/position"
)

// aggregate is a key within a topic: order holds there.
type aggregate struct{ topic, key string }

// counter is what numbers an aggregate's events: their writers do it for each topic that
// the first routes lead to.
type counter struct {
	aggregate
	first string
}

// order compares each aggregate's events with the order of their commits, and
// with the numbers that their writers gave them under a lock.
func (j *judge) order() {
	at := make(map[aggregate]int) // the partition
	last := make(map[aggregate]int)
	number := make(map[counter]int64)
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
			c := counter{a, j.Run.Topics[row.Type]}
			if row.N <= number[c] {
				j.v.add(CheckOrder, "aggregate %s of %s: number %d after %d", a.key, a.topic, row.N, number[c])
			}
			number[c] = row.N
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
// carries the later time, so a confirmation that ran ahead shows; what is not in
// its topic was never sent.
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
		at, ok := published[e.id]
		if !ok {
			at = math.MaxInt64
		}
		latest[i+1] = max(latest[i], at)
	}
	const clock = 1000 // the producer's clock counts milliseconds
	for _, s := range j.Samples {
		if s.Confirmed <= j.Run.ConsistentPoint || j.begins(s) {
			continue // where the slot began: the rows before it are kept by the pipeline's record
		}
		below := sort.Search(len(byCommit), func(i int) bool { return byCommit[i].lsn >= s.Confirmed })
		switch at := latest[below]; {
		case at == math.MaxInt64:
			j.v.add(CheckConfirmed, "the slot stood at %s, and an event that committed below it was never sent",
				position.Position{Epoch: j.Run.Epoch, LSN: s.Confirmed})
		case at > s.At+clock:
			j.v.add(CheckConfirmed, "the slot stood at %s, %d ms before an event that committed below it was sent",
				position.Position{Epoch: j.Run.Epoch, LSN: s.Confirmed}, (at-s.At)/1000)
		}
	}
}

// begins reports whether the slot was not the daemon's, or at its beginning again.
func (j *judge) begins(s Sample) bool {
	return slices.ContainsFunc(j.Run.Repairs, func(r RepairRecord) bool {
		return s.At >= r.Harmed && (s.At <= r.Made || s.Confirmed <= r.Point)
	})
}

// copies folds the truth and compares. A copy that was not given the time to catch
// up may be behind, but must be what it was once: that it is late is told elsewhere.
func (j *judge) copies() {
	want := make(map[aggregate][]string) // the fold after each event
	for _, e := range j.expected {
		row := j.byID[e.id]
		if row == nil {
			continue
		}
		a := aggregate{j.topicAt(row.Type, e.at), row.Key}
		last := ""
		if n := len(want[a]); n > 0 {
			last = want[a][n-1]
		}
		want[a] = append(want[a], fold(last, row.ID, row.Hash))
	}
	for _, c := range j.Copies {
		a := aggregate{c.Topic, c.Key}
		folds := want[a]
		late := !j.Run.Drained && c.Applied > 0 && c.Applied < len(folds)
		switch {
		case len(folds) == 0:
			j.v.add(CheckCopy, "aggregate %s of %s was never written", a.key, a.topic)
		case c.Applied != len(folds) && !late:
			j.v.add(CheckCopy, "aggregate %s of %s: %d events were applied, want %d", a.key, a.topic, c.Applied, len(folds))
		case c.H != folds[c.Applied-1]:
			j.v.add(CheckCopy, "aggregate %s of %s: its fold differs", a.key, a.topic)
		case c.Effects != nil && *c.Effects != c.Applied:
			j.v.add(CheckCopy, "aggregate %s of %s: %d events had their effect, want %d", a.key, a.topic, *c.Effects, c.Applied)
		}
		delete(want, a)
	}
	for a, folds := range want {
		if j.Run.Drained {
			j.v.add(CheckCopy, "aggregate %s of %s with %d events is missing", a.key, a.topic, len(folds))
		}
	}
}

// fold is the next h = H(h || event): it shows every loss, repeat and swap.
func fold(h, id, hash string) string { return hashOf([]byte(h + id + hash)) }

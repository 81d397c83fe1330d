package torture

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/schemas"
)

// The checks, by the names under which a finding is told.
const (
	CheckTruth     = "truth"     // the truth rows and the independent slot agree
	CheckLost      = "lost"      // committed and passed by the slot, not in its topic
	CheckDoubled   = "doubled"   // in its topic more than once
	CheckPhantom   = "phantom"   // in a topic, never committed
	CheckPartition = "partition" // a key's events lie in one partition
	CheckOrder     = "order"     // an aggregate's events lie in commit order
	CheckPositions = "positions" // positions rise strictly, and are those of the commits
	CheckOrdinals  = "ordinals"  // ordinals are dense from 1
	CheckPayload   = "payload"   // the bytes are those that were written
	CheckSchema    = "schema"    // a message decodes under its schema, as its type
	CheckReread    = "reread"    // the topic holds the same after a restart of the broker
	CheckConfirmed = "confirmed" // the slot never passed what was not published
	CheckCopy      = "copy"      // the copy's folds and counters
	CheckLiveness  = "liveness"  // everything drained in time: topics, slot and copy
	CheckFaults    = "faults"    // a fault ended as it should
	CheckGuard     = "guard"     // nothing was noticed by daemon or projection that no fault explains
	CheckMemory    = "memory"    // the daemon's memory stayed within its bound
	CheckWrites    = "writes"    // no write was refused
	CheckVacuous   = "vacuous"   // the run proves something at all
)

// IsCheck reports whether a finding can have that name.
func IsCheck(name string) bool {
	return slices.Contains([]string{CheckTruth, CheckLost, CheckDoubled, CheckPhantom, CheckPartition, CheckOrder, CheckPositions, CheckOrdinals,
		CheckPayload, CheckSchema, CheckReread, CheckConfirmed, CheckCopy, CheckLiveness, CheckFaults, CheckGuard, CheckMemory, CheckWrites, CheckVacuous}, name)
}

// Finding is something that must not be.
type Finding struct {
	Check  string `json:"check"`
	Detail string `json:"detail"`
}

// Verdict is what the judge says of a history.
type Verdict struct {
	Seed         uint64               `json:"seed"`
	Transactions int                  `json:"transactions"`
	Events       int                  `json:"events"`
	Messages     int                  `json:"messages"`
	Samples      int                  `json:"samples"`
	Faults       int                  `json:"faults"`
	Fired        int                  `json:"fired"`     // of the faults, without what is recorded as one
	Takeovers    map[string]Takeovers `json:"takeovers"` // by fault
	Counts       map[string]int       `json:"counts"`    // findings by check
	Findings     []Finding            `json:"findings"`  // the first few of each check
}

// Takeovers sums up how soon a daemon that stood by had published. A fault that
// ended otherwise counts as well.
type Takeovers struct {
	Count   int   `json:"count"`
	Longest int64 `json:"longest_ms"`
}

// OK reports whether nothing was found.
func (v *Verdict) OK() bool { return len(v.Counts) == 0 }

// told is how many findings of one check are spelled out.
const told = 5

func (v *Verdict) add(check, format string, args ...any) {
	if v.Counts[check]++; v.Counts[check] <= told {
		v.Findings = append(v.Findings, Finding{check, fmt.Sprintf(format, args...)})
	}
}

// Judge looks at a history, and at nothing else.
func Judge(h *History) *Verdict {
	j := &judge{History: h, v: &Verdict{Seed: h.Run.Seed, Transactions: len(h.Commits), Events: len(h.Truth),
		Messages: len(h.Topic), Samples: len(h.Samples), Faults: len(h.Faults), Takeovers: map[string]Takeovers{}, Counts: map[string]int{}}}
	j.index()
	j.truth()
	j.messages()
	j.order()
	j.reread()
	if !j.Run.Jumps { // messages carry the producer's time
		j.rerouted()
		j.confirmed()
	}
	j.copies()
	j.run()
	return j.v
}

// judge holds what several checks need.
type judge struct {
	*History
	v        *Verdict
	byID     map[string]*TruthRow
	expected []expected     // all events in the order of their positions
	place    map[string]int // index in expected
}

// expected is a committed event and the position it must have.
type expected struct {
	id  string
	lsn uint64 // of its commit
	at  position.Position
}

// index puts every committed event in its place. What committed before the slot
// was made comes first, in order of seq; the rest in commit order. An event that was
// parked was committed again with each retry: of its places the one counts that its
// message says, and the last if there is none.
func (j *judge) index() {
	j.byID = make(map[string]*TruthRow, len(j.Truth))
	for i := range j.Truth {
		j.byID[j.Truth[i].ID] = &j.Truth[i]
	}
	var early []CommitEvent
	lsn := make(map[string]uint64)
	for _, c := range j.Commits {
		for i, e := range c.Events {
			if e.ID == "" {
				continue
			}
			lsn[e.ID] = c.LSN
			if c.LSN < j.Run.ConsistentPoint {
				early = append(early, e)
				continue
			}
			j.expected = append(j.expected, expected{e.ID, c.LSN, position.Position{Epoch: j.Run.Epoch, LSN: c.LSN, Index: uint32(i)}})
		}
	}
	sort.Slice(early, func(a, b int) bool { return early[a].Seq < early[b].Seq })
	first := make([]expected, len(early), len(early)+len(j.expected))
	for i, e := range early {
		first[i] = expected{e.ID, lsn[e.ID], position.Position{Epoch: j.Run.Epoch, LSN: j.Run.ConsistentPoint - 1, Index: uint32(i)}}
	}
	j.expected = append(first, j.expected...)
	if slices.ContainsFunc(j.Faults, func(f FaultRecord) bool { return strings.HasPrefix(f.Fault, groupPoison+".") }) {
		j.expected = j.retried(j.expected)
	}
	j.repaired()
	j.place = make(map[string]int, len(j.expected))
	for i, e := range j.expected {
		j.place[e.id] = i
	}
}

// retried leaves one place for each event.
func (j *judge) retried(all []expected) []expected {
	says := make(map[string]string, len(j.Topic))
	for i := range j.Topic {
		says[j.Topic[i].ID] = j.Topic[i].Position
	}
	chosen := make(map[string]int, len(all))
	for i, e := range all {
		if was, ok := chosen[e.id]; !ok || !strings.HasPrefix(says[e.id], all[was].at.String()) {
			chosen[e.id] = i
		}
	}
	var out []expected
	for i, e := range all {
		if chosen[e.id] == i {
			out = append(out, e)
		}
	}
	return out
}

// repaired gives what a repair published its place. Which events these are the topic
// alone can tell, by their positions; that each had committed before the slot was made
// anew, that the positions are dense, and in order of seq, is required.
func (j *judge) repaired() {
	if len(j.Run.Repairs) == 0 {
		return
	}
	seq := make(map[string]int64)
	for _, c := range j.Commits {
		for _, e := range c.Events {
			seq[e.ID] = e.Seq
		}
	}
	index := make(map[string]int, len(j.expected))
	for i, e := range j.expected {
		index[e.id] = i
	}
	for _, repair := range j.Run.Repairs {
		var late []int
		for i := range j.Topic {
			stamp, err := position.ParseStamp(j.Topic[i].Position)
			at, known := index[j.Topic[i].ID]
			if err == nil && known && stamp.LSN == repair.Point-1 && j.expected[at].lsn < repair.Point {
				late = append(late, at)
			}
		}
		slices.SortFunc(late, func(a, b int) int { return cmp.Compare(seq[j.expected[a].id], seq[j.expected[b].id]) })
		for n, at := range late {
			j.expected[at].at = position.Position{Epoch: j.Run.Epoch, LSN: repair.Point - 1, Index: uint32(n)}
		}
	}
	slices.SortStableFunc(j.expected, func(a, b expected) int { return a.at.Compare(b.at) })
}

// truth compares the two witnesses of what committed.
func (j *judge) truth() {
	if len(j.byID) != len(j.Truth) {
		j.v.add(CheckTruth, "%d truth rows with %d ids", len(j.Truth), len(j.byID))
	}
	if len(j.place) != len(j.expected) {
		j.v.add(CheckTruth, "the slot shows %d events with %d ids", len(j.expected), len(j.place))
	}
	for _, t := range j.Truth {
		if _, ok := j.place[t.ID]; !ok {
			j.v.add(CheckTruth, "%s has a truth row and is not in the independent slot", t.ID)
		}
	}
	for _, e := range j.expected {
		if j.byID[e.id] == nil {
			j.v.add(CheckTruth, "%s is in the independent slot and has no truth row", e.id)
		}
	}
}

// partitionKey names a partition of a topic.
type partitionKey struct {
	topic     string
	partition int
}

// messages looks at each message, and at each partition as a whole.
func (j *judge) messages() {
	codecs := j.codecs()
	last := make(map[partitionKey]position.Stamp)
	seen := make(map[string]string, len(j.Topic))
	for i := range j.Topic {
		m := &j.Topic[i]
		where := fmt.Sprintf("%s-%d %s", m.Topic, m.Partition, m.At)
		stamp, err := position.ParseStamp(m.Position)
		if err != nil {
			j.v.add(CheckPositions, "%s: %v", where, err)
			continue
		}
		before := last[partitionKey{m.Topic, m.Partition}]
		if before.Ordinal > 0 && !before.Less(stamp.Position) {
			j.v.add(CheckPositions, "%s: %s after %s", where, stamp.Position, before.Position)
		}
		if stamp.Ordinal != before.Ordinal+1 {
			j.v.add(CheckOrdinals, "%s: ordinal %d after %d", where, stamp.Ordinal, before.Ordinal)
		}
		last[partitionKey{m.Topic, m.Partition}] = stamp
		if was, ok := seen[m.ID]; ok {
			j.v.add(CheckDoubled, "%s: event %s was at %s already", where, m.ID, was)
		}
		seen[m.ID] = where
		j.message(where, m, stamp, codecs[m.Topic][m.Version])
	}
	for _, topic := range j.Run.Strange {
		j.v.add(CheckPhantom, "%s holds messages, and no event belongs there", topic)
	}
	j.missing(seen)
}

// missing tells an event that is lost from one that is late: what the slot has
// passed comes never again; the rest may only be told as not drained in time.
func (j *judge) missing(seen map[string]string) {
	var passed uint64
	for _, s := range j.Samples {
		passed = max(passed, s.Confirmed)
	}
	late := 0
	for _, e := range j.expected {
		t := j.byID[e.id]
		if _, ok := seen[e.id]; ok || t == nil {
			continue
		}
		// What was there before the slot is passed when the slot has moved at all.
		if max(e.lsn, j.Run.ConsistentPoint) >= passed {
			late++
			continue
		}
		j.v.add(CheckLost, "event %s of transaction %s, aggregate %s, number %d", t.ID, t.Tx, t.Key, t.N)
	}
	if late > 0 {
		j.v.add(CheckLiveness, "%d events were not published in time; the slot has not passed them", late)
	}
}

// message compares one message with the row that it comes from.
func (j *judge) message(where string, m *TopicMessage, stamp position.Stamp, schema *schemas.TopicSchema) {
	row := j.byID[m.ID]
	if row == nil {
		j.v.add(CheckPhantom, "%s: event %s was never committed", where, m.ID)
		return
	}
	if topic := j.topicAt(row.Type, stamp.Position); m.Topic != topic {
		j.v.add(CheckPayload, "%s: event %s of type %s belongs to topic %s", where, m.ID, row.Type, topic)
	}
	if m.Key != row.Key || m.Type != row.Type {
		j.v.add(CheckPayload, "%s: event %s has type %s and key %s, was written as %s with %s", where, m.ID, m.Type, m.Key, row.Type, row.Key)
	}
	if i, ok := j.place[m.ID]; ok && j.expected[i].at != stamp.Position {
		j.v.add(CheckPositions, "%s: event %s has position %s, its row %s", where, m.ID, stamp.Position, j.expected[i].at)
	}
	if schema == nil {
		j.v.add(CheckSchema, "%s: schema version %d is not in the registry", where, m.Version)
		return
	}
	event, payload, err := schema.Split(m.Payload)
	if err == nil {
		err = schemas.Validate(event.Schema, payload)
	}
	switch {
	case err != nil:
		j.v.add(CheckSchema, "%s: %v", where, err)
	case event.Name != m.Type:
		j.v.add(CheckSchema, "%s: says %s and holds %s", where, m.Type, event.Name)
	case hashOf(payload) != row.Hash:
		j.v.add(CheckPayload, "%s: event %s holds other bytes than were written", where, m.ID)
	}
}

// codecs parses the registry's schemas as they were saved.
func (j *judge) codecs() map[string]map[int64]*schemas.TopicSchema {
	all := make(map[string]map[int64]*schemas.TopicSchema)
	for topic, versions := range j.Run.Schemas {
		all[topic] = make(map[int64]*schemas.TopicSchema)
		for version, text := range versions {
			s, err := schemas.ParseTopicSchema(text, version)
			if err != nil {
				j.v.add(CheckSchema, "topic %s, schema version %d: %v", topic, version, err)
				continue
			}
			all[topic][version] = s
		}
	}
	return all
}

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

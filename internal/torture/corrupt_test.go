package torture

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/schemas"
)

// made returns a history without a fault in it: what a run in which all went well
// leaves behind.
func made(t *testing.T) *History {
	t.Helper()
	catalog := events()
	h := &History{Run: RunRecord{Seed: 1, Partitions: 2, Epoch: 1, ConsistentPoint: 1000, MinEvents: 100, Planned: 1, Drained: true, PeakMemory: 1 << 20,
		Topics: topicOf(), Schemas: map[string]map[int64]string{}}}
	branch := make(map[string]int)
	for topic := range topics() {
		composed, err := schemas.Compose(topic, eventsOf(topic), nil)
		if err != nil {
			t.Fatal(err)
		}
		h.Run.Schemas[topic] = map[int64]string{0: composed.JSON}
		for _, b := range composed.Events() {
			branch[b.Name] = b.Index
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	ordinals := map[partitionKey]uint64{}
	numbers := map[aggregate]int64{}
	copies := map[aggregate]*CopyAggregate{}
	for tx := range 60 {
		lsn := uint64(500 + 100*tx) // the first ones from before the slot
		c := Commit{LSN: lsn, XID: uint32(tx)}
		for i := range 4 {
			event := catalog[random.IntN(len(catalog))]
			key := fmt.Sprintf("k%d", random.IntN(5))
			a := aggregate{h.Run.Topics[event.Name], key}
			numbers[a]++
			row := draft{n: numbers[a], writer: "w", note: fmt.Sprint(tx, i)}
			id := uuid.NewSHA1(uuid.Nil, fmt.Append(nil, tx, i)).String()
			payload := row.avro()
			h.Truth = append(h.Truth, TruthRow{ID: id, Tx: fmt.Sprint(tx), Type: event.Name, Key: key, N: row.n, Hash: hashOf(payload)})
			c.Events = append(c.Events, CommitEvent{ID: id, Seq: int64(10*tx + i)})
			at := position.Position{Epoch: 1, LSN: lsn, Index: uint32(i)}
			if lsn < h.Run.ConsistentPoint {
				at = position.Position{Epoch: 1, LSN: h.Run.ConsistentPoint - 1, Index: uint32(4*tx + i)}
			}
			p := partitionKey{a.topic, int(key[1]-'0') % 2}
			ordinals[p]++
			h.Topic = append(h.Topic, TopicMessage{Topic: a.topic, Partition: p.partition, At: fmt.Sprintf("1:%d:-1", ordinals[p]),
				Key: key, ID: id, Type: event.Name, Position: position.Stamp{Position: at, Ordinal: ordinals[p]}.String(),
				Published: int64(1e6 * (tx + 1)), Payload: append(binary.AppendVarint(nil, int64(branch[event.Name])), payload...)})
			if copies[a] == nil {
				copies[a] = &CopyAggregate{Topic: a.topic, Key: key}
			}
			copies[a].H, copies[a].Applied = fold(copies[a].H, id, hashOf(payload)), copies[a].Applied+1
		}
		h.Commits = append(h.Commits, c)
		h.Samples = append(h.Samples, Sample{At: int64(1e6*(tx+1)) + 1000, Confirmed: lsn + 50, PID: 7})
	}
	slices.SortStableFunc(h.Topic, func(a, b TopicMessage) int { return a.Partition - b.Partition })
	h.Again = slices.Clone(h.Topic)
	for _, c := range copies {
		h.Copies = append(h.Copies, *c)
	}
	h.Faults = []FaultRecord{{N: 1, Fault: "daemon.kill", Fired: true, OK: true, Confirmed: 1500, WAL: 1700}}
	return h
}

func requireFindings(t *testing.T, v *Verdict, want ...string) {
	t.Helper()
	for _, check := range want {
		if v.Counts[check] == 0 {
			t.Errorf("check %q found nothing; found: %v", check, v.Findings)
		}
	}
}

func TestCleanHistoryPasses(t *testing.T) {
	if v := Judge(made(t)); !v.OK() {
		t.Errorf("findings: %v", v.Findings)
	}
}

// What a copy lacks that was not given the time to catch up is no finding of its own.
func TestLateCopyIsNoWrongCopy(t *testing.T) {
	h := made(t)
	h.Run.Drained = false
	longest := slices.IndexFunc(h.Copies, func(c CopyAggregate) bool { return c.Applied > 5 })
	c := &h.Copies[longest]
	c.H, c.Applied = "", 0
	for _, commit := range h.Commits {
		for _, e := range commit.Events {
			row := h.Truth[slices.IndexFunc(h.Truth, func(t TruthRow) bool { return t.ID == e.ID })]
			if c.Applied < 3 && row.Key == c.Key && h.Run.Topics[row.Type] == c.Topic {
				c.H, c.Applied = fold(c.H, row.ID, row.Hash), c.Applied+1
			}
		}
	}
	if v := Judge(h); len(v.Counts) != 1 || v.Counts[CheckLiveness] == 0 {
		t.Errorf("findings: %v", v.Findings)
	}
}

func TestSavedHistoryIsTheSame(t *testing.T) {
	dir, h := t.TempDir(), made(t)
	if err := h.Save(dir); err != nil {
		t.Fatal(err)
	}
	again, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(h, again) {
		t.Error("the history differs after it was saved and loaded")
	}
	if err := os.WriteFile(filepath.Join(dir, fileTopic), []byte("{\"topic\":"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("half a record was read without an error")
	}
}

// neighbours returns two successive messages of one aggregate.
func neighbours(t *testing.T, all []TopicMessage) (a, b int) {
	t.Helper()
	last := make(map[aggregate]int)
	for i, m := range all {
		k := aggregate{m.Topic, m.Key}
		if was, ok := last[k]; ok && i > 20 {
			return was, i
		}
		last[k] = i
	}
	t.Fatal("no aggregate has two messages")
	return 0, 0
}

// renumber makes ordinals dense, as if a clever daemon had covered its traces.
func renumber(all []TopicMessage) {
	n := make(map[partitionKey]uint64)
	for i := range all {
		k := partitionKey{all[i].Topic, all[i].Partition}
		n[k]++
		s, _ := position.ParseStamp(all[i].Position) // made by made
		s.Ordinal = n[k]
		all[i].Position = s.String()
	}
}

// exchange swaps what two messages hold, and leaves positions and places.
func exchange(all []TopicMessage, a, b int) {
	all[a], all[b] = all[b], all[a]
	all[a].Position, all[b].Position = all[b].Position, all[a].Position
	all[a].At, all[b].At = all[b].At, all[a].At
}

// TestCorruptedHistories: a history that was corrupted in one way is refused by
// the check for that, also when everything around it was made to fit.
func TestCorruptedHistories(t *testing.T) {
	for name, test := range map[string]struct {
		corrupt func(t *testing.T, h *History)
		want    []string
	}{
		"drop": {func(_ *testing.T, h *History) {
			h.Topic = slices.Delete(h.Topic, 30, 31)
			renumber(h.Topic)
		}, []string{CheckLost, CheckReread}},
		"drop, with a hole": {func(_ *testing.T, h *History) {
			h.Topic = slices.Delete(h.Topic, 30, 31)
		}, []string{CheckLost, CheckOrdinals}},
		"double": {func(_ *testing.T, h *History) {
			h.Topic = slices.Insert(h.Topic, 31, h.Topic[30])
			renumber(h.Topic)
		}, []string{CheckDoubled, CheckPositions}},
		"swap": {func(t *testing.T, h *History) {
			a, b := neighbours(t, h.Topic)
			exchange(h.Topic, a, b)
		}, []string{CheckOrder, CheckPositions}},
		"swap, positions and all": {func(t *testing.T, h *History) {
			a, b := neighbours(t, h.Topic)
			h.Topic[a], h.Topic[b] = h.Topic[b], h.Topic[a]
		}, []string{CheckOrder, CheckPositions, CheckOrdinals}},
		"phantom": {func(_ *testing.T, h *History) {
			m := h.Topic[30]
			m.ID = uuid.NewString()
			h.Topic = slices.Insert(h.Topic, 31, m)
			renumber(h.Topic)
		}, []string{CheckPhantom}},
		"flipped byte of a text": {func(_ *testing.T, h *History) {
			p := slices.Clone(h.Topic[30].Payload)
			p[len(p)-1] ^= 1
			h.Topic[30].Payload = p
		}, []string{CheckPayload}},
		"flipped byte of a length": {func(_ *testing.T, h *History) {
			p := slices.Clone(h.Topic[30].Payload)
			p[2] ^= 0x40
			h.Topic[30].Payload = p
		}, []string{CheckSchema}},
		"wrong partition": {func(_ *testing.T, h *History) {
			m := h.Topic[0]
			h.Topic = slices.Delete(h.Topic, 0, 1)
			m.Partition ^= 1
			h.Topic = append(h.Topic, m)
			slices.SortStableFunc(h.Topic, func(a, b TopicMessage) int { return a.Partition - b.Partition })
			renumber(h.Topic)
		}, []string{CheckPartition}},
		"too much memory": {func(_ *testing.T, h *History) {
			h.Run.PeakMemory = memoryBound + 1
		}, []string{CheckMemory}},
		"other position": {func(_ *testing.T, h *History) {
			s, _ := position.ParseStamp(h.Topic[30].Position)
			s.LSN++
			h.Topic[30].Position = s.String()
		}, []string{CheckPositions}},
		"other key":      {func(_ *testing.T, h *History) { h.Topic[30].Key = "k9" }, []string{CheckPayload}},
		"unknown schema": {func(_ *testing.T, h *History) { h.Topic[30].Version = 9 }, []string{CheckSchema}},
		"lost by the broker's restart": {func(_ *testing.T, h *History) {
			h.Again = slices.Delete(slices.Clone(h.Again), 30, 31)
		}, []string{CheckReread}},
		"confirmed too early":    {func(_ *testing.T, h *History) { h.Samples[20].Confirmed = h.Commits[30].LSN }, []string{CheckConfirmed}},
		"a truth row is missing": {func(_ *testing.T, h *History) { h.Truth = slices.Delete(h.Truth, 9, 10) }, []string{CheckTruth, CheckPhantom}},
		"a commit is missing": {func(_ *testing.T, h *History) {
			h.Commits = slices.Delete(h.Commits, 9, 10)
		}, []string{CheckTruth}},
		"an effect twice": {func(_ *testing.T, h *History) {
			n := h.Copies[0].Applied + 1
			h.Copies[0].Effects = &n
		}, []string{CheckCopy}},
		"the copy applied twice": {func(_ *testing.T, h *History) { h.Copies[0].Applied++ }, []string{CheckCopy}},
		"the copy swapped":       {func(_ *testing.T, h *History) { h.Copies[0].H = hashOf(nil) }, []string{CheckCopy}},
		"the copy lacks one":     {func(_ *testing.T, h *History) { h.Copies = h.Copies[1:] }, []string{CheckCopy}},
		"lost, and the slot has not passed it": {func(_ *testing.T, h *History) {
			last := h.Commits[len(h.Commits)-1]
			h.Samples = slices.DeleteFunc(h.Samples, func(s Sample) bool { return s.Confirmed > last.LSN })
			h.Topic = slices.DeleteFunc(h.Topic, func(m TopicMessage) bool { return m.ID == last.Events[3].ID })
		}, []string{CheckLiveness}},
		"confirmed, and never sent": {func(_ *testing.T, h *History) {
			h.Topic = slices.DeleteFunc(h.Topic, func(m TopicMessage) bool { return m.ID == h.Commits[30].Events[1].ID })
		}, []string{CheckConfirmed, CheckLost}},
		"late, and its fold is wrong": {func(_ *testing.T, h *History) {
			h.Run.Drained = false
			h.Copies[0].Applied--
		}, []string{CheckCopy}},
		"a topic too many":   {func(_ *testing.T, h *History) { h.Run.Strange = []string{"persistent://public/torture/x"} }, []string{CheckPhantom}},
		"a write is refused": {func(_ *testing.T, h *History) { h.Run.Refused = []string{"writer w0"} }, []string{CheckWrites}},
		"a guard spoke": {func(_ *testing.T, h *History) {
			h.Run.Guards = map[string]string{"TOPIC_HOLE": "level=ERROR msg=halted code=TOPIC_HOLE"}
		}, []string{CheckGuard}},
		"memory not looked at":   {func(_ *testing.T, h *History) { h.Run.PeakMemory = 0 }, []string{CheckVacuous}},
		"rolled back, and there": {func(_ *testing.T, h *History) { h.Truth[9].Tx = "w0-7-rollback" }, []string{CheckTruth}},
		"a kind that never commits": {func(_ *testing.T, h *History) {
			for i := range h.Truth {
				h.Truth[i].Tx = fmt.Sprintf("w0-%d-multi", i)
			}
		}, []string{CheckVacuous}},
		"the copy ended by itself": {func(_ *testing.T, h *History) {
			h.Faults = append(h.Faults, FaultRecord{N: 2, Fault: faultCopy, Expect: "it runs", Outcome: "copy-1 ended by itself"})
		}, []string{CheckFaults}},
		"the projection was killed when it was idle": {func(_ *testing.T, h *History) {
			h.Faults[0].Fault = "copy.kill"
		}, []string{CheckVacuous}},
		"never drained":       {func(_ *testing.T, h *History) { h.Run.Drained = false }, []string{CheckLiveness}},
		"too little traffic":  {func(_ *testing.T, h *History) { h.Run.MinEvents = 1 << 20 }, []string{CheckVacuous}},
		"a fault never fired": {func(_ *testing.T, h *History) { h.Faults[0].Fired = false }, []string{CheckVacuous}},
		"nothing in flight":   {func(_ *testing.T, h *History) { h.Faults[0].WAL = h.Faults[0].Confirmed }, []string{CheckVacuous}},
		"fewer faults":        {func(_ *testing.T, h *History) { h.Faults = nil }, []string{CheckVacuous}},
		"no halt":             {func(_ *testing.T, h *History) { h.Faults[0].OK = false }, []string{CheckFaults}},
	} {
		t.Run(name, func(t *testing.T) {
			h := made(t)
			test.corrupt(t, h)
			requireFindings(t, Judge(h), test.want...)
		})
	}
}

// repaired returns a history in which a slot was made anew: what committed in some
// transactions before it is at the positions of a repair.
func repaired(t *testing.T) (h *History, late []int) {
	t.Helper()
	h = made(t)
	const from, point = 2500, 3050
	rank := map[string]uint32{}
	for _, c := range h.Commits {
		for _, e := range c.Events {
			if c.LSN >= from && c.LSN < point {
				rank[e.ID] = uint32(len(rank)) // seq rises with the commits
			}
		}
	}
	for i := range h.Topic {
		m := &h.Topic[i]
		n, ok := rank[m.ID]
		if !ok {
			continue
		}
		stamp, err := position.ParseStamp(m.Position)
		if err != nil {
			t.Fatal(err)
		}
		stamp.Position = position.Position{Epoch: 1, LSN: point - 1, Index: n}
		m.Position = stamp.String()
		late = append(late, i)
	}
	if len(late) < 4 {
		t.Fatal("nothing was repaired")
	}
	h.Again = slices.Clone(h.Topic)
	h.Run.Repairs = []RepairRecord{{Harmed: 1, Made: 2, Point: point}}
	return h, late
}

func TestRepairedHistory(t *testing.T) {
	h, _ := repaired(t)
	if v := Judge(h); !v.OK() {
		t.Errorf("findings: %v", v.Findings)
	}
	// Of a repair that nobody knows, the positions are wrong.
	h.Run.Repairs = nil
	requireFindings(t, Judge(h), CheckPositions)

	h, late := repaired(t)
	a, b := &h.Topic[late[0]], &h.Topic[late[1]]
	a.Position, b.Position = b.Position[:34]+a.Position[34:], a.Position[:34]+b.Position[34:]
	requireFindings(t, Judge(h), CheckPositions)

	// What commits behind the new slot is no part of it.
	h, _ = repaired(t)
	h.Run.Repairs[0].Point = 2900
	requireFindings(t, Judge(h), CheckPositions)
}

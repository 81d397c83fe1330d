package torture

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// History is a run as its folder holds it: everything that the judge may look at.
// LSNs are byte positions in the WAL; times are microseconds since 1970.
type History struct {
	Run     RunRecord       // run.json
	Truth   []TruthRow      // truth.jsonl: what committed, told by its own rows
	Commits []Commit        // commits.jsonl: in commit order, read from a slot of our own
	Topic   []TopicMessage  // topic.jsonl: read raw from the start
	Again   []TopicMessage  // again.jsonl: the same after a restart of the broker
	Samples []Sample        // samples.jsonl: the daemon's slot, while it all happened
	Faults  []FaultRecord   // faults.jsonl
	Copies  []CopyAggregate // copies.jsonl: what the projection holds in the end
}

// RunRecord describes the run.
type RunRecord struct {
	Seed            uint64                      `json:"seed"`
	Began           int64                       `json:"began"`
	Ended           int64                       `json:"ended"`
	Partitions      int                         `json:"partitions"`
	Epoch           uint32                      `json:"epoch"`
	ConsistentPoint uint64                      `json:"consistent_point"` // of the daemon's slot
	Jumps           bool                        `json:"jumps,omitempty"`  // the daemons' clock
	MinEvents       int                         `json:"min_events"`
	Planned         int                         `json:"planned"` // faults
	Drained         bool                        `json:"drained"` // slot and copy caught up in time after the last fault
	DrainMillis     int64                       `json:"drain_ms"`
	PeakMemory      int64                       `json:"peak_memory"`       // the most of any daemon, resident, bytes
	Refused         []string                    `json:"refused,omitempty"` // writes that failed for no reason of the run's
	Guards          map[string]string           `json:"guards,omitempty"`  // codes of guards in the logs, each with its first line
	Strange         []string                    `json:"strange,omitempty"` // topics and partitions that nobody made for events
	Topics          map[string]string           `json:"topics"`            // of an event type, where routes do not change
	Routing         []Routing                   `json:"routing,omitempty"` // where they do
	Schemas         map[string]map[int64]string `json:"schemas"`           // of a topic, by version
	Repairs         []RepairRecord              `json:"repairs,omitempty"` // of the daemon's slot, in order
}

// RepairRecord is a slot that was harmed and made anew.
type RepairRecord struct {
	Harmed int64  `json:"harmed"` // when; until it was made anew what the slot says is not the daemon's
	Made   int64  `json:"made"`
	Point  uint64 `json:"point"` // its consistent point: where it begins
}

// Routing is a generation of the daemon's routes.
type Routing struct {
	After  string            `json:"after"`  // the position above which it decides
	Topics map[string]string `json:"topics"` // of an event type
}

// TruthRow is an event as its own transaction recorded it.
type TruthRow struct {
	ID   string `json:"id"`
	Tx   string `json:"tx"` // the workload's name of the transaction, with its kind
	Type string `json:"type"`
	Key  string `json:"key"`
	N    int64  `json:"n"`    // counts the aggregate's events from 1; 0: written without a lock, in no order of its own
	Hash string `json:"hash"` // SHA-256 of the event's Avro bytes
}

// Commit is a transaction as the independent slot shows it.
type Commit struct {
	LSN    uint64        `json:"lsn"` // start of the commit record
	XID    uint32        `json:"xid"`
	Events []CommitEvent `json:"events"` // in the order of the rows
}

// CommitEvent is an outbox row; or, without an id, a control record, which has a place
// among the rows and is no event.
type CommitEvent struct {
	ID  string `json:"id"`
	Seq int64  `json:"seq"`
}

// TopicMessage is a message as a reader without a subscription receives it.
type TopicMessage struct {
	Topic     string `json:"topic"` // local name
	Partition int    `json:"partition"`
	At        string `json:"at"` // message id
	Key       string `json:"key"`
	ID        string `json:"id"`
	Type      string `json:"type"`
	Position  string `json:"position"` // the property: with the ordinal
	Version   int64  `json:"version"`  // of the schema
	Published int64  `json:"published"`
	Payload   []byte `json:"payload"`
}

// Sample is the daemon's slot at a moment.
type Sample struct {
	At        int64  `json:"at"` // after it was read
	Confirmed uint64 `json:"confirmed"`
	PID       int32  `json:"pid"` // of the walsender; 0: none
}

// FaultRecord is a fault as it was carried out.
type FaultRecord struct {
	N         int              `json:"n"`
	Fault     string           `json:"fault"`
	Rule      string           `json:"rule"`           // the failpoint's; empty: none
	Then      string           `json:"then,omitempty"` // another rule, which fired too
	Fired     bool             `json:"fired"`
	At        int64            `json:"at"`
	Confirmed uint64           `json:"confirmed"` // of the slot when it fired
	WAL       uint64           `json:"wal"`       // the server's insert position then
	Behind    int64            `json:"behind"`    // events that had committed then and were not in the copy
	Hits      map[string]int64 `json:"hits,omitempty"`
	Expect    string           `json:"expect"`  // resume, back-pressure, or halt with codes
	Outcome   string           `json:"outcome"` // as expected, or what happened instead
	OK        bool             `json:"ok"`
	Note      string           `json:"note,omitempty"`
	Takeover  int64            `json:"takeover_ms,omitempty"` // from the first daemon's end until the one that stood by had published
	Millis    int64            `json:"ms"`                    // until events passed again
}

// CopyAggregate is an aggregate of the local copy.
type CopyAggregate struct {
	Topic   string `json:"topic"`
	Key     string `json:"key"`
	H       string `json:"h"` // fold of its events, in hex
	Applied int    `json:"applied"`
	Effects *int   `json:"effects,omitempty"` // events that were handled while not catching up; nil: not counted
}

// Names of the files.
const (
	fileRun     = "run.json"
	fileTruth   = "truth.jsonl"
	fileCommits = "commits.jsonl"
	fileTopic   = "topic.jsonl"
	fileAgain   = "again.jsonl"
	fileSamples = "samples.jsonl"
	fileFaults  = "faults.jsonl"
	fileCopies  = "copies.jsonl"
)

// Save writes the history to a folder, which exists.
func (h *History) Save(dir string) error {
	text, err := json.MarshalIndent(h.Run, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(dir, fileRun), append(text, '\n'), 0o600),
		saveLines(dir, fileTruth, h.Truth), saveLines(dir, fileCommits, h.Commits),
		saveLines(dir, fileTopic, h.Topic), saveLines(dir, fileAgain, h.Again),
		saveLines(dir, fileSamples, h.Samples), saveLines(dir, fileFaults, h.Faults),
		saveLines(dir, fileCopies, h.Copies))
}

// Load reads a history back.
func Load(dir string) (*History, error) {
	h := &History{}
	text, err := os.ReadFile(filepath.Join(dir, fileRun))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &h.Run); err != nil {
		return nil, fmt.Errorf("%s: %w", fileRun, err)
	}
	err = errors.Join(loadLines(dir, fileTruth, &h.Truth), loadLines(dir, fileCommits, &h.Commits),
		loadLines(dir, fileTopic, &h.Topic), loadLines(dir, fileAgain, &h.Again),
		loadLines(dir, fileSamples, &h.Samples), loadLines(dir, fileFaults, &h.Faults),
		loadLines(dir, fileCopies, &h.Copies))
	return h, err
}

func saveLines[T any](dir, name string, all []T) (err error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriter(f)
	lines := json.NewEncoder(w)
	for i := range all {
		if err := lines.Encode(&all[i]); err != nil {
			return err
		}
	}
	return w.Flush()
}

func loadLines[T any](dir, name string, into *[]T) error {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	lines := json.NewDecoder(bufio.NewReader(f))
	for {
		var one T
		switch err := lines.Decode(&one); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%s, record %d: %w", name, len(*into)+1, err)
		}
		*into = append(*into, one)
	}
}

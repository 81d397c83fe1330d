package history

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/runnel-cdc/runnel/internal/position"
)

// Prefix begins the local names of history topics.
const Prefix = "runnel-history-"

// EventType is the property `type` of the topic's messages.
const EventType = "runnel.history"

// Topic returns the local name of a pipeline's history topic. The name of a pipeline
// that is no name of a topic gets a digest, so that two never share one.
func Topic(pipeline string) string {
	if plain.MatchString(pipeline) && !strings.Contains(pipeline, "-partition-") { // Pulsar's own, at the end
		return Prefix + pipeline
	}
	digest := sha256.Sum256([]byte(pipeline))
	clean := stranger.ReplaceAllString(pipeline, "_")
	return Prefix + clean[:min(len(clean), 100)] + "." + hex.EncodeToString(digest[:4])
}

var (
	plain    = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,100}$`)
	stranger = regexp.MustCompile(`[^a-zA-Z0-9_-]`)
)

// Record is a message of the topic: the whole history, as it is from then on.
type Record struct {
	Pipeline string `json:"pipeline"`
	Eras     []Era  `json:"eras"` // in order; at least one
	// Routing has the generations of the pipeline's routes, in order; none in records of
	// before there were any.
	Routing []Generation `json:"routing,omitempty"`
}

// Era is a stretch of the database's history.
type Era struct {
	Epoch    uint32 `json:"epoch"`
	SystemID string `json:"system_id"`
	Timeline int32  `json:"timeline"`
	Begin    string `json:"begin_lsn"` // as in positions: 16 hexadecimal digits
	// Before is where the era before ends, of another server; "" on the same one: Begin.
	Before string `json:"before_lsn,omitempty"`
}

// NewEra returns an era. before is where the one before it ends.
func NewEra(epoch uint32, systemID string, timeline int32, begin, before uint64) Era {
	e := Era{Epoch: epoch, SystemID: systemID, Timeline: timeline, Begin: fmt.Sprintf("%016x", begin)}
	if before != begin {
		e.Before = fmt.Sprintf("%016x", before)
	}
	return e
}

// maxRecord bounds a record, in bytes. An era takes some 100.
const maxRecord = 1 << 20

// Parse reads a record. It accepts what Marshal writes, and fields that are not known.
func Parse(text []byte) (Record, error) {
	var r Record
	if len(text) > maxRecord {
		return r, fmt.Errorf("a record of %d bytes", len(text))
	}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&r); err != nil {
		return r, fmt.Errorf("a record of a pipeline's history: %w", err)
	}
	if _, err := r.History(); err != nil {
		return r, err
	}
	return r, checkRouting(r.Routing)
}

// Marshal writes the record.
func (r Record) Marshal() ([]byte, error) { return json.Marshal(r) }

// History returns where the eras begin. The error says what is wrong with them: epochs
// rise, and so do their beginnings on one server.
func (r Record) History() (position.History, error) {
	var h position.History
	for i, e := range r.Eras {
		begin, err := strconv.ParseUint(e.Begin, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("era %d: %w", i, err)
		}
		before := begin
		if e.Before != "" {
			if before, err = strconv.ParseUint(e.Before, 16, 64); err != nil {
				return nil, fmt.Errorf("era %d: %w", i, err)
			}
		}
		if n := len(h); e.Epoch == 0 || n > 0 && (e.Epoch <= h[n-1].Epoch || begin < h[n-1].Begin && e.SystemID == r.Eras[i-1].SystemID) {
			return nil, fmt.Errorf("era %d, epoch %d from %s on, is out of order", i, e.Epoch, e.Begin)
		}
		h = append(h, position.Era{Epoch: e.Epoch, Begin: begin, Before: before})
	}
	if len(h) == 0 {
		return nil, errors.New("a history without an era")
	}
	return h, nil
}

// Differs says how two records of one epoch contradict each other; "" when they do not.
func (r Record) Differs(o Record) string {
	for _, e := range r.Eras {
		for _, f := range o.Eras {
			if e.Epoch == f.Epoch && (e.SystemID != f.SystemID || e.Timeline != f.Timeline) {
				return fmt.Sprintf("epoch %d is timeline %d of system %s here, and timeline %d of system %s there", e.Epoch, e.Timeline, e.SystemID, f.Timeline, f.SystemID)
			}
		}
	}
	return ""
}

// Newest returns the last era.
func (r Record) Newest() Era { return r.Eras[len(r.Eras)-1] }

// IsTopic reports whether a local name is that of a history topic.
func IsTopic(local string) bool { return strings.HasPrefix(local, Prefix) }

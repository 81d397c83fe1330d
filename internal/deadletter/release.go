package deadletter

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/runnel-cdc/runnel/internal/position"
)

// ControlRelease is the kind of a control record that releases parked events.
const ControlRelease = "release"

// Record is the body of such a control record. The rows of events that are retried follow
// it in its transaction, in the same order and under their ids.
type Record struct {
	AggregateType string      `json:"aggregate_type"`
	AggregateID   string      `json:"aggregate_id"`
	Discard       bool        `json:"discard,omitempty"` // no rows follow
	Events        []RecordRef `json:"events"`            // in the order of their ranks
}

// RecordRef names a parked event.
type RecordRef struct {
	ID       string `json:"id"`
	Position string `json:"position"` // as parked
}

// Ref is a RecordRef, read.
type Ref struct {
	ID       [16]byte
	Position position.Position
}

// NewRecord returns the record that releases events of one aggregate.
func NewRecord(key Key, discard bool, events []Entry) Record {
	r := Record{AggregateType: key.AggregateType, AggregateID: key.AggregateID, Discard: discard}
	for _, e := range events {
		r.Events = append(r.Events, RecordRef{formatID(e.ID), e.Position.String()})
	}
	return r
}

// Key returns whose events they are.
func (r Record) Key() Key { return Key{r.AggregateType, r.AggregateID} }

// Refs returns the events.
func (r Record) Refs() ([]Ref, error) { return parseRefs(r.Events) }

// ParseRecord reads a control record's body.
func ParseRecord(body []byte) (Record, []Ref, error) {
	var r Record
	if err := json.Unmarshal(body, &r); err != nil {
		return r, nil, fmt.Errorf("a release: %w", err)
	}
	if len(r.Events) == 0 {
		return r, nil, errors.New("a release of nothing")
	}
	refs, err := r.Refs()
	return r, refs, err
}

// Release is what came of a record: the events that were parked when it was met, and are
// no more.
type Release struct {
	AggregateType string     `json:"aggregate_type"`
	AggregateID   string     `json:"aggregate_id"`
	Discard       bool       `json:"discard,omitempty"`
	Released      []Released `json:"released"`
}

// Released is an event that was released, with what it keeps if it fails again.
type Released struct {
	RecordRef
	Rank      string `json:"rank"`
	Committed int64  `json:"committed_at"`
}

// NewRelease returns a release of these events.
func NewRelease(key Key, discard bool, events []Entry) Release {
	r := Release{AggregateType: key.AggregateType, AggregateID: key.AggregateID, Discard: discard, Released: []Released{}}
	for _, e := range events {
		r.Released = append(r.Released, Released{RecordRef{formatID(e.ID), e.Position.String()}, e.Rank.String(), e.Committed})
	}
	return r
}

// Properties returns a release's properties, but for the stamp. floor is the lowest
// position that is parked after it; its own if none is.
func (r Release) Properties(floor position.Position) map[string]string {
	return map[string]string{propertyType: EventReleased, propertyFloor: floor.String(),
		propertyAggregate: r.AggregateType, propertyKey: r.AggregateID}
}

// Entries returns the released events.
func (r Release) Entries() ([]Entry, error) {
	var all []Entry
	for _, one := range r.Released {
		refs, err := parseRefs([]RecordRef{one.RecordRef})
		if err != nil {
			return nil, err
		}
		rank, err := position.Parse(one.Rank)
		if err != nil {
			return nil, fmt.Errorf("rank: %w", err)
		}
		all = append(all, Entry{Position: refs[0].Position, Rank: rank, ID: refs[0].ID,
			Key: Key{r.AggregateType, r.AggregateID}, Committed: one.Committed})
	}
	return all, nil
}

// ParseRelease reads a release's payload.
func ParseRelease(payload []byte) (Release, error) {
	var r Release
	if err := json.Unmarshal(payload, &r); err != nil {
		return r, fmt.Errorf("a release: %w", err)
	}
	_, err := r.Entries()
	return r, err
}

func parseRefs(events []RecordRef) ([]Ref, error) {
	refs := make([]Ref, 0, len(events))
	for _, e := range events {
		id, err := parseID(e.ID)
		if err != nil {
			return nil, err
		}
		at, err := position.Parse(e.Position)
		if err != nil {
			return nil, err
		}
		refs = append(refs, Ref{id, at})
	}
	return refs, nil
}

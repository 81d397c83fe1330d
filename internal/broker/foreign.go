package broker

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Foreign lists messages that Runnel did not write, and that a person has said may be
// passed over. The zero value lists none.
//
// Invariant: only a message that cannot be read as one of Runnel's is ever passed over.
// So if it was an event after all, the ordinal of the next one says that one is missing.
type Foreign map[place]bool

// place is where a listed message lies. A message outside of a batch may have no index
// in it or the first one, depending on the client.
type place struct {
	partition     Partition
	ledger, entry int64
	batch         int32
}

func placeOf(of Partition, id MessageID) place {
	return place{of, id.Ledger, id.Entry, max(id.Batch, 0)}
}

// Name is how errors name a message, and how it is listed:
// persistent://tenant/namespace/name-partition-0 19:0:0.
func (m *Incoming) Name() string { return m.Partition.String() + " " + m.ID.String() }

// Lists reports whether the list has the message. It says nothing about whether the
// message can be read.
func (f Foreign) Lists(m *Incoming) bool { return f[placeOf(m.Partition, m.ID)] }

// ParseForeign reads a list of names as Incoming.Name writes them.
func ParseForeign(names []string) (Foreign, error) {
	listed := make(Foreign, len(names))
	for _, name := range names {
		at, ok := parsePlace(name)
		if !ok {
			return nil, fmt.Errorf("%.300q, which does not name a message: persistent://tenant/namespace/name-partition-0 19:0:0", name)
		}
		if listed[at] {
			return nil, fmt.Errorf("%s twice", name)
		}
		listed[at] = true
	}
	return listed, nil
}

var topicName = regexp.MustCompile(`^persistent://[\w.:=-]+/[\w.:=-]+/[\w.:=-]+$`)

// parsePlace reads what Name wrote.
func parsePlace(name string) (place, bool) {
	partition, id, _ := strings.Cut(name, " ")
	cut := strings.LastIndexByte(partition, '-') + 1
	index, err := strconv.Atoi(partition[cut:])
	if err != nil {
		return place{}, false
	}
	m := Incoming{Partition: Partition{Topic: strings.TrimSuffix(partition[:cut], "-partition-"), Index: index}}
	m.ID, err = ParseMessageID(id)
	return placeOf(m.Partition, m.ID), err == nil && topicName.MatchString(m.Partition.Topic) && m.Name() == name
}

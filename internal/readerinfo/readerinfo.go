// Package readerinfo is what a consumer of Runnel's tells the broker about itself:
// which projection it is and which versions of which events its handlers were built
// with. The broker shows it in the topic's statistics while the consumer is connected,
// so that a change of a schema can name who could not read it.
//
// Package consumers writes it, package evolution reads it. Start with Info.
package readerinfo

import (
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/runnel-cdc/runnel/schemas"
)

// The names of the properties.
const (
	projectionKey = "runnel.projection"
	versionKey    = "runnel.version"
	readsKey      = "runnel.reads"
)

// anything is what a consumer says that reads events of any type.
const anything = "*"

// maxReads bounds the property, in bytes: it travels with every consumer and comes
// with every answer of the statistics. It has room for about a hundred event types.
const maxReads = 16 << 10

// Info is a consumer of Runnel's.
type Info struct {
	Name    string // of the projection, or of Subscribe's subscription
	Version int    // of the projection; 0: Subscribe
	// Reads are the event types with the fingerprints of the versions that the
	// handlers were built with; nil: it may read any, under versions it does not tell.
	Reads map[string]schemas.Fingerprint
}

// Properties returns i as properties of a consumer.
func (i Info) Properties() map[string]string {
	reads := anything
	if i.Reads != nil {
		var all []string
		for _, name := range slices.Sorted(maps.Keys(i.Reads)) {
			all = append(all, name+"="+i.Reads[name].String())
		}
		if text := strings.Join(all, ","); len(text) <= maxReads {
			reads = text
		}
	}
	return map[string]string{projectionKey: i.Name, versionKey: strconv.Itoa(i.Version), readsKey: reads}
}

// Parse reads the properties of a consumer; false when it is none of Runnel's, or
// says what cannot be read.
func Parse(properties map[string]string) (Info, bool) {
	name, ok := properties[projectionKey]
	if !ok {
		return Info{}, false
	}
	version, err := strconv.Atoi(properties[versionKey])
	if err != nil {
		return Info{}, false
	}
	i := Info{Name: name, Version: version}
	text, ok := properties[readsKey]
	if !ok {
		return Info{}, false
	}
	if text == anything {
		return i, true
	}
	i.Reads = make(map[string]schemas.Fingerprint)
	for entry := range strings.SplitSeq(text, ",") {
		if entry == "" {
			continue
		}
		event, digits, ok := strings.Cut(entry, "=")
		fp, err := hex.DecodeString(digits)
		if !ok || err != nil || len(fp) != len(schemas.Fingerprint{}) {
			return Info{}, false
		}
		i.Reads[event] = schemas.Fingerprint(fp)
	}
	return i, true
}

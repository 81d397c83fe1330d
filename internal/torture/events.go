package torture

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/runnel-cdc/runnel/router"
	"github.com/runnel-cdc/runnel/schemas"
)

// The events of the workload. Two aggregate types; one event type of an
// aggregate goes to a topic of its own, so that routes take part.
const (
	opened = "AccountOpened"
	moved  = "AccountMoved"
	closed = "AccountClosed"
	sent   = "ParcelSent"
)

// namespace holds the topics.
const namespace = "public/torture"

// eventFields are those of every event.
const eventFields = `[{"name":"n","type":"long"},{"name":"writer","type":"string"},{"name":"note","type":"string"}]`

// events are the event types, made once.
var events = sync.OnceValue(func() []*schemas.EventType {
	var all []*schemas.EventType
	for _, e := range [][2]string{{opened, "account"}, {moved, "account"}, {closed, "account"}, {sent, "parcel"}} {
		all = append(all, schemas.MustEventType(fmt.Sprintf(`{"type":"record","name":%q,"aggregate":%q,"fields":%s}`, e[0], e[1], eventFields)))
	}
	return all
})

// routes send closed accounts elsewhere.
func routes() []router.RouteRule { return []router.RouteRule{{Type: closed, Topic: "closings"}} }

// topicOf names the topic of each event type, as routes says; the run's first ones.
func topicOf() map[string]string {
	return map[string]string{opened: "account", moved: "account", closed: "closings", sent: "parcel"}
}

// topics are the local names.
func topics() map[string]bool {
	all := make(map[string]bool)
	for _, t := range topicOf() {
		all[t] = true
	}
	return all
}

// eventsOf are the event types of a topic.
func eventsOf(topic string) []*schemas.EventType {
	return slices.DeleteFunc(slices.Clone(events()), func(e *schemas.EventType) bool { return topicOf()[e.Name] != topic })
}

// writeSchemas writes the catalog as files.
func writeSchemas(dir string) error {
	err := os.MkdirAll(dir, 0o700)
	for _, e := range events() {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, e.Name+".avsc"), []byte(e.JSON), 0o600))
	}
	return err
}

// draft is an event before it is written.
type draft struct {
	id     string
	event  *schemas.EventType
	key    string
	locked bool // n counts the aggregate's events, under a lock
	n      int64
	writer string
	note   string
}

// avro encodes the payload by hand: what the truth is compared with must not come
// from the code under test.
func (d *draft) avro() []byte {
	b := binary.AppendVarint(nil, d.n)
	for _, text := range []string{d.writer, d.note} {
		b = append(binary.AppendVarint(b, int64(len(text))), text...)
	}
	return b
}

// json is the payload for the rows that are transcoded by the daemon.
func (d *draft) json() ([]byte, error) {
	return json.Marshal(map[string]any{"n": d.n, "writer": d.writer, "note": d.note})
}

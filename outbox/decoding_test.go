package outbox_test

import (
	"bytes"
	"encoding/binary"
	"maps"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// The publication shows each insert once and under the root's name, and shows
// neither adoption nor dropping.
func TestPublicationShowsEachInsertOnce(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	slot := b.Slot("decode")
	b.Exec(t, "select pg_create_logical_replication_slot('"+slot+"', 'pgoutput')")
	writer := pgtest.Conn(t, b.writer)
	publish(t, writer, "1", "2")         // today's partition
	b.insertAt(t, "2020-01-01 12:00+00") // the default partition
	b.insertAt(t, "2020-01-02 12:00+00")
	if done := b.keepHouse(t, 0); done.Adopted == "" {
		t.Fatalf("nothing adopted: %+v", done)
	}
	b.insertAt(t, "2020-01-01 13:00+00") // the adopted one
	b.insertAt(t, "2020-05-05 13:00+00") // the new default
	b.confirm(t, "p")
	b.Exec(t, "insert into runnel.control (pipeline, kind) values ('p', 'k')")
	if done := b.keepHouse(t, time.Second); len(done.Dropped) != 2 || done.Adopted == "" {
		t.Errorf("housekeeping: %+v", done)
	}

	// pgoutput, version 1: Relation is 'R', id, namespace NUL, name NUL, ...; Insert
	// is 'I', id, ... A partition's Relation is sent beside its root's.
	messages := "select data from pg_logical_slot_peek_binary_changes('" + slot + "', null, null, 'proto_version', '1', 'publication_names', 'runnel')"
	names := map[uint32]string{}
	inserts := map[string]int{}
	for _, m := range pgtest.Values[[]byte](t, b.DB, messages) {
		switch m[0] {
		case 'R':
			parts := bytes.SplitN(m[5:], []byte{0}, 3)
			names[binary.BigEndian.Uint32(m[1:])] = string(parts[0]) + "." + string(parts[1])
		case 'I':
			inserts[names[binary.BigEndian.Uint32(m[1:])]]++
		case 'U', 'D', 'T':
			t.Errorf("a message of kind %c", m[0])
		}
	}
	if want := map[string]int{"runnel.outbox": 6, "runnel.control": 1}; !maps.Equal(inserts, want) {
		t.Errorf("inserts %v, want %v", inserts, want)
	}
}

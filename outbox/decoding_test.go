package outbox_test

import (
	"testing"

	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// The publication shows each insert once and under the root's name, and shows
// neither adoption nor dropping.
func TestPublicationShowsEachInsertOnce(t *testing.T) {
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
	if done := b.keepHouse(t, 1); len(done.Dropped) != 2 || done.Adopted == "" {
		t.Errorf("housekeeping: %+v", done)
	}

	// The first byte of a message of pgoutput is its kind. A relation message
	// holds its namespace and name, each ended by 0, after kind and 4 bytes of id.
	messages := "select data from pg_logical_slot_peek_binary_changes('" + slot + "', null, null, 'proto_version', '1', 'publication_names', 'runnel')"
	kinds := map[string]int{}
	names := map[string]bool{}
	for _, m := range pgtest.Values[[]byte](t, b.DB, messages) {
		kinds[string(m[:1])]++
		if m[0] == 'R' {
			names[string(m[5:5+len("runnel.outbo")+2])] = true
		}
	}
	if kinds["I"] != 7 || kinds["U"]+kinds["D"]+kinds["T"] > 0 {
		t.Errorf("messages %v, want 6 events and a control record", kinds)
	}
	for name := range names {
		if name != "runnel\x00outbox\x00" && name != "runnel\x00control"[:14] {
			t.Errorf("relation %q", name)
		}
	}
}

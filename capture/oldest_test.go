package capture

import (
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// TestReadOldest: what is not known as confirmed begins with the oldest transaction that the saved
// snapshot does not show, also with one that was open when it was taken.
func TestReadOldest(t *testing.T) {
	f := newFixture(t)
	db := f.Conn(t)
	expect := func(what string, n int) {
		t.Helper()
		oldest, known, err := ReadOldest(t.Context(), db, "p")
		if err != nil || !known {
			t.Fatalf("%s: known: %v, %v", what, known, err)
		}
		var want time.Time
		if n > 0 {
			want = pgtest.Value[time.Time](t, f.DB, "select inserted_at from runnel.outbox where payload = convert_to('{\"n\": ' || $1::int || '}', 'UTF8')", n)
		}
		if !oldest.Equal(want) {
			t.Errorf("%s: %s, want that of row %d, %s", what, oldest, n, want)
		}
	}
	save := func() {
		f.Exec(t, `insert into runnel.progress (pipeline, confirmed_lsn, snapshot) values ('p', '0/1', pg_current_snapshot())
			on conflict (pipeline) do update set snapshot = excluded.snapshot`)
	}
	bootstrapped(t, f, 1) // makes the record
	f.Exec(t, "delete from runnel.progress")
	if _, known, err := ReadOldest(t.Context(), db, "p"); known || err != nil {
		t.Errorf("nothing saved: known: %v, %v", known, err)
	}
	f.insert(t, 2, 2, "a")
	save()
	expect("all of it saved", 0)

	early := f.Conn(t)
	tx, err := early.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), insertSQL, 3, 3, "b"); err != nil {
		t.Fatal(err)
	}
	f.insert(t, 4, 4, "a")
	save() // while the third is open
	expect("one is open", 0)
	f.insert(t, 5, 5, "a")
	expect("one is open, another committed", 5)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect("which began before", 3)

	f.Exec(t, "update runnel.pipeline set settled_seq = (select max(seq) from runnel.outbox)")
	expect("all came from another server", 0)

	f.Exec(t, "update runnel.pipeline set system_id = '1'")
	if oldest, known, err := ReadOldest(t.Context(), db, "p"); known || err != nil {
		t.Errorf("on another server: %s, known: %v, %v", oldest, known, err)
	}
}

package capture

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// openToRepair opens a source whose slot is damaged.
func (f *fixture) openToRepair(t *testing.T) *Source {
	t.Helper()
	config := f.config
	config.Repair = true
	s, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if s.Damage() == nil {
		t.Fatal("no damage")
	}
	return s
}

// inTopics strikes off the rows with the numbers, as if topics held them.
func inTopics(t *testing.T, f *fixture, r *Repair, seqs ...int) {
	t.Helper()
	ids := f.ids(t, "seq")
	for _, n := range seqs {
		if err := r.Strike(t.Context(), ids[n-1:n]); err != nil {
			t.Fatal(err)
		}
	}
}

// savedProgress saves progress over all rows that there are.
func (f *fixture) savedProgress(t *testing.T) {
	t.Helper()
	p, err := NewProgress(t.Context(), f.config)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for range 2 { // sample, then save
		if err := p.step(t.Context(), func() uint64 { return 1 << 62 }, func() []PartitionTail { return nil }); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRepairCutOff: a repair that ends at any step leaves a pipeline that streams
// nothing, and is begun again. What is in no topic comes first then, in order, at
// positions below all that is streamed.
func TestRepairCutOff(t *testing.T) {
	for _, step := range []string{"begun", "dropped", "made", "compared"} {
		t.Run(step, func(t *testing.T) {
			f := newFixture(t)
			bootstrapped(t, f, 3)
			f.savedProgress(t)
			f.insert(t, 4, 6, "published and not confirmed")
			f.insert(t, 7, 9, "lost")
			f.Exec(t, "select pg_drop_replication_slot($1)", f.config.Slot)
			openFails(t, f.config, ErrSlotMissing, "runnel slot repair")

			s := f.openToRepair(t)
			var err error
			switch step {
			case "begun":
				err = s.recordDamage(t.Context(), damageRepair)
			case "dropped":
				if err = s.recordDamage(t.Context(), damageRepair); err == nil {
					err = s.dropUseless(t.Context())
				}
			default:
				var r *Repair
				if r, err = s.Remake(t.Context()); err == nil && step == "compared" {
					inTopics(t, f, r, 4, 5)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
			openFails(t, f.config, ErrRepairUnfinished, "runnel slot repair")

			s = f.openToRepair(t)
			r, err := s.Remake(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			f.insert(t, 10, 12, "while it is repaired")
			if early, err := r.EarlyLeft(t.Context()); early || err != nil {
				t.Errorf("early rows: %v, %v", early, err)
			}
			inTopics(t, f, r, 4, 5)
			span, err := r.Missing(t.Context(), 3)
			if err != nil || span.Count != 4 || len(span.First) != 3 || span.First[0].AggregateID != "published and not confirmed" || span.Newest.Before(span.Oldest) {
				t.Fatalf("%+v, %v", span, err)
			}
			if err := r.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.Close()

			var rows []row
			for range 2 { // the first is cut off before anything is confirmed
				s = f.open(t)
				if !s.Bootstrapping() {
					t.Fatal("nothing from before the slot")
				}
				running := start(t, s)
				go func() { defer close(running.ended); running.consume() }()
				if a := result(t, running); len(a.missing) != 0 {
					t.Errorf("%+v", a)
				}
				again := running.await(7)
				if got := payloads(again); got != "6 7 8 9 10 11 12" {
					t.Fatalf("got %s", got)
				}
				for i, x := range again {
					if rows != nil && x.at != rows[i].at || i > 0 && !again[i-1].at.Less(x.at) {
						t.Errorf("row %s at %s", x.payload, x.at)
					}
				}
				rows = again
				running.mustStop()
			}
			last := follow(t, f.open(t))
			last.await(7)
			pgtest.Eventually(t, patience, func() bool { return pgtest.Value[bool](t, f.DB, "select snapshot_done from runnel.pipeline") })
			last.mustStop()
			if n := pgtest.Value[int](t, f.DB, "select count(*)::int from runnel.repair_row"); n != 0 {
				t.Errorf("%d rows are left of the repair", n)
			}
			last = follow(t, f.open(t))
			f.insert(t, 13, 13, "after")
			if got := payloads(last.await(1)); got != "13" {
				t.Errorf("got %s", got)
			}
			last.mustStop()
		})
	}
}

// TestCompareChangesNothing: a plan leaves no trace.
func TestCompareChangesNothing(t *testing.T) {
	f := newFixture(t)
	bootstrapped(t, f, 3)
	f.insert(t, 4, 5, "lost")
	f.Exec(t, "select pg_drop_replication_slot($1)", f.config.Slot)
	state := func() string {
		return pgtest.Value[string](t, f.DB, "select p::text || (select count(*) from runnel.repair_row) || (select count(*) from pg_replication_slots where database = current_database()) from runnel.pipeline p")
	}
	before := state()
	s := f.openToRepair(t)
	r, err := s.Compare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// No progress was saved: whatever is in the outbox may be missing.
	if floor, err := r.Floor(); err != nil || !floor.IsZero() {
		t.Errorf("%s, %v", floor, err)
	}
	if span, err := r.Missing(t.Context(), 10); err != nil || span.Count != 5 {
		t.Errorf("%+v, %v", span, err)
	}
	if err := r.Commit(t.Context()); err == nil {
		t.Error("a comparison was committed")
	}
	r.Close(t.Context())
	s.Close()
	if after := state(); after != before {
		t.Errorf("was %s, is %s", before, after)
	}
}

// TestRepairForeignSlot: a slot that is not ours is not touched; the pipeline may go on
// with another one.
func TestRepairForeignSlot(t *testing.T) {
	f := newFixture(t)
	bootstrapped(t, f, 3)
	other := f.config
	other.Slot = f.Slot("other")
	other.Repair = true
	openFails(t, other, ErrSlotMismatch, "configured is "+other.Slot) // the recorded one is whole
	another := f.config
	another.Pipeline = "q"
	openFails(t, another, ErrSlotForeign, "pipeline p")

	f.Exec(t, "select pg_drop_replication_slot($1)", f.config.Slot)
	f.Exec(t, "select pg_create_logical_replication_slot($1, 'test_decoding')", f.config.Slot)
	foreign := f.config.Slot
	openFails(t, f.config, ErrSlotForeign, "test_decoding")
	f.config.Repair = true
	openFails(t, f.config, ErrSlotForeign, "runnel slot repair")
	f.config.Repair = false

	f.config.Slot = other.Slot
	openFails(t, f.config, ErrSlotMismatch, foreign)
	f.insert(t, 4, 4, "lost")
	s := f.openToRepair(t)
	r, err := s.Remake(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	inTopics(t, f, r, 1, 2, 3)
	if err := r.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Close()
	running := follow(t, f.open(t))
	if got := payloads(running.await(1)); got != "4" {
		t.Errorf("got %s", got)
	}
	running.mustStop()
	if n := pgtest.Value[int](t, f.DB, "select count(*)::int from pg_replication_slots where slot_name = $1", foreign); n != 1 {
		t.Error("the other's slot is gone")
	}
	f.Exec(t, "select pg_drop_replication_slot($1)", foreign)
}

// TestUncovered: of days whose partition is gone nobody knows what was published.
func TestUncovered(t *testing.T) {
	f := newFixture(t)
	bootstrapped(t, f, 3)
	f.savedProgress(t)
	f.Exec(t, "update runnel.progress set sampled_at = now() - interval '2 days'")
	f.Exec(t, "select pg_drop_replication_slot($1)", f.config.Slot)
	retained, err := f.openToRepair(t).Retained(t.Context())
	today := pgtest.Value[time.Time](t, f.DB, "select date_trunc('day', now() at time zone 'UTC') at time zone 'UTC'")
	if err != nil || len(retained.Uncovered) != 1 || !retained.Uncovered[0].From.Equal(retained.Complete) || !retained.Uncovered[0].To.Equal(today) {
		t.Fatalf("%+v, %v", retained, err)
	}
}

// TestLimit: the slot is never confirmed beyond what the record allows, and says so
// when somebody else moved it.
func TestLimit(t *testing.T) {
	f := newFixture(t)
	bootstrapped(t, f, 1)
	limit := func() uint64 {
		lsn, err := parseLSN(pgtest.Value[string](t, f.DB, "select slot_limit::text from runnel.pipeline"))
		if err != nil {
			t.Fatal(err)
		}
		return lsn
	}
	r := follow(t, f.open(t))
	tx, err := f.Conn(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "select from runnel.pipeline for update"); err != nil {
		t.Fatal(err)
	}
	before := limit()
	f.insert(t, 2, 3, "a")
	r.await(2)
	pgtest.Eventually(t, patience, func() bool { return r.Confirmed() > before })
	replied := statusSent(t, f)
	replied()
	if at := f.confirmedFlush(t); at > before || limit() != before {
		t.Errorf("the slot is at %x, the limit is %x", at, before)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, patience, func() bool { return f.confirmedFlush(t) > before })
	r.mustStop()
	if at := f.confirmedFlush(t); at > limit() {
		t.Errorf("the slot is at %x, the limit is %x", at, limit())
	}

	f.insert(t, 4, 5, "lost")
	f.Exec(t, "select pg_replication_slot_advance($1, pg_current_wal_lsn())", f.config.Slot)
	openFails(t, f.config, ErrSlotMoved, "has confirmed nothing beyond")
}

// TestNewPipelineOnAMovedDatabase: a pipeline that has published nothing begins in the
// copy of a database, under a number that the former server's histories have not.
func TestNewPipelineOnAMovedDatabase(t *testing.T) {
	f := newFixture(t)
	f.Exec(t, "insert into runnel.epoch (epoch, system_id, timeline, begin_lsn) values (1, '7', 1, '0/0'), (2, '7', 2, '5/0')")
	f.insert(t, 1, 2, "carried over")
	s := f.open(t)
	if u := s.Unsettled(); len(u) == 0 || u[len(u)-1].Epoch != 0 || s.Moved() {
		t.Fatalf("%+v", u)
	}
	if err := s.Settle(t.Context(), 0, nil); err != nil {
		t.Fatal(err)
	}
	r := follow(t, s)
	if rows := r.await(2); rows[0].at.Epoch != 3 {
		t.Errorf("%s", rows[0].at)
	}
	r.mustStop()
	f.insert(t, 3, 3, "after")
	again := follow(t, f.open(t))
	again.await(1)
	again.mustStop()
}

// TestMovedWithOldRows: of the rows that came with a moved database, those that were long
// confirmed when the progress was saved are not looked for: topics may have dropped them.
func TestMovedWithOldRows(t *testing.T) {
	f := newFixture(t)
	bootstrapped(t, f, 3)
	f.savedProgress(t)
	f.insert(t, 4, 5, "not confirmed")
	f.Exec(t, "update runnel.pipeline set system_id = '7'")
	f.Exec(t, "update runnel.epoch set system_id = '7'")
	for saved, want := range map[string]int64{"30 minutes": 5, "2 hours": 2} { // after the rows
		f.Exec(t, "update runnel.progress set sampled_at = now() + $1::text::interval", saved)
		s := f.openToRepair(t)
		r, err := s.Compare(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if span, err := r.Missing(t.Context(), 10); err != nil || span.Count != want {
			t.Errorf("saved %s after the rows: %+v, %v, want %d", saved, span, err, want)
		}
		r.Close(t.Context())
		s.Close()
	}
}

// TestRepairLongAfterAMove: rows that came with a moved database have xids of another
// server, whatever which. Those that its repair found missing are looked for until progress is
// saved; the others never again, in topics that may have dropped them.
func TestRepairLongAfterAMove(t *testing.T) {
	f := newFixture(t)
	bootstrapped(t, f, 3)
	f.Exec(t, "set session_replication_role = replica; update runnel.outbox set xid = '4611686018427387904'")
	f.Exec(t, "update runnel.pipeline set settled_seq = (select max(seq) from runnel.outbox)")
	f.Exec(t, "insert into runnel.repair_row select name, seq, id, inserted_at, false from runnel.outbox, runnel.pipeline order by seq limit 2")
	f.insert(t, 4, 5, "since then")
	f.Exec(t, "insert into runnel.outbox (id, aggregate_type, aggregate_id, event_type, encoding, payload) select id, aggregate_type, 'retried', event_type, encoding, payload from runnel.outbox order by seq limit 1")
	f.Exec(t, "select pg_drop_replication_slot($1)", f.config.Slot)
	for _, c := range []struct {
		what  string
		want  int64
		early bool
	}{
		{"no progress was saved", 4, true}, // one of the two, and what was written since
		{"progress was saved", 1, false},
	} {
		s := f.openToRepair(t)
		r, err := s.Compare(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		early, err := r.EarlyLeft(t.Context())
		if err != nil || early != c.early {
			t.Errorf("%s: early rows %t, %v", c.what, early, err)
		}
		if span, err := r.Missing(t.Context(), 10); err != nil || span.Count != c.want {
			t.Errorf("%s: %d are missing, %v, want %d", c.what, span.Count, err, c.want)
		}
		r.Close(t.Context())
		s.Close()
		f.savedProgress(t)
		f.insert(t, 6, 6, "later")
	}
}

// TestMoveWithOpenTransaction: a row of a transaction that was open when a moved database's
// slot was made is none of those that came with it, though later ones are committed.
func TestMoveWithOpenTransaction(t *testing.T) {
	f := newFixture(t)
	bootstrapped(t, f, 3)
	f.Exec(t, "update runnel.pipeline set system_id = '7'")
	f.Exec(t, "update runnel.epoch set system_id = '7'")
	f.Exec(t, "select pg_drop_replication_slot($1)", f.config.Slot)
	begin := func(query string) pgx.Tx {
		tx, err := f.Conn(t).Begin(t.Context())
		if err == nil {
			_, err = tx.Exec(t.Context(), query)
		}
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}
	commit := func(tx pgx.Tx) {
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s := f.openToRepair(t)
	conn := f.Conn(t)
	awaits := func(tx pgx.Tx) {
		pid := fmt.Sprintf("pid %d ", tx.Conn().PgConn().PID())
		pgtest.Eventually(t, patience, func() bool {
			waits, err := readAwaited(t.Context(), conn, s.repl.PID())
			return err == nil && strings.HasPrefix(waits, pid)
		}, "the slot awaits "+pid)
	}
	// The slot awaits those that run at first, then those that run when these have ended.
	first := begin("select pg_current_xact_id()")
	type result struct {
		r   *Repair
		err error
	}
	made := make(chan result, 1)
	go func() {
		r, err := s.Remake(t.Context())
		made <- result{r, err}
	}()
	awaits(first)
	second := begin("select pg_current_xact_id()")
	commit(first)
	awaits(second)
	open := begin("select runnel.publish('order', 'open', 'placed', '{}'::jsonb)")
	f.insert(t, 5, 5, "committed")
	commit(second)
	m := <-made
	if m.err != nil {
		t.Fatal(m.err)
	}
	if span, err := m.r.Missing(t.Context(), 10); err != nil || span.Count != 4 {
		t.Errorf("%+v, %v", span, err)
	}
	if err := m.r.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Close()
	f.savedProgress(t)
	commit(open)
	f.Exec(t, "select pg_drop_replication_slot($1)", f.config.Slot)
	r, err := f.openToRepair(t).Compare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(t.Context())
	if span, err := r.Missing(t.Context(), 10); err != nil || span.Count != 1 || span.First[0].AggregateID != "open" {
		t.Errorf("%+v, %v", span, err)
	}
}

package capture

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/router"
)

func TestStream(t *testing.T) {
	f := newFixture(t)
	s := f.open(t)
	r := follow(t, s)
	f.insert(t, 1, 3, "a")
	f.insert(t, 4, 4, "b")
	rows := r.await(4)
	if got := payloads(rows); got != "1 2 3 4" {
		t.Fatalf("got %s", got)
	}
	checkPositions(t, rows)
	checkSet(t, f, rows)
	pgtest.Eventually(t, patience, func() bool {
		return pgtest.Value[bool](t, f.DB, "select snapshot_done from runnel.pipeline")
	})
	r.mustStop()
	// All is confirmed: the next start has nothing to replay.
	f.insert(t, 5, 5, "a")
	r = follow(t, f.open(t))
	if got := payloads(r.await(1)); got != "5" {
		t.Fatalf("got %s after the restart", got)
	}
	r.mustStop()
}

// TestEveryColumn compares an event with what was written.
func TestEveryColumn(t *testing.T) {
	f := newFixture(t)
	r := start(t, f.open(t))
	defer func() { r.cancel(); drain(r); close(r.ended) }()
	f.Exec(t, `insert into runnel.outbox (id, aggregate_type, aggregate_id, event_type, aggregate_seq, encoding, fingerprint, payload, headers, occurred_at)
		values ('01890000-0000-7000-8000-00000000002a', 'order', 'ä1', 'OrderPlaced', 7, 1, decode(repeat('ab', 32), 'hex'),
			'\x00ff10', '{"k": "v"}', '2026-02-03 04:05:06.000007+00')`)
	for b := range r.out {
		for _, in := range b.Inputs {
			if in.Kind != router.Row {
				continue
			}
			e := in.Event
			want := router.Event{
				Position: e.Position, Seq: e.Seq,
				ID:            [16]byte{0x01, 0x89, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0x2a},
				AggregateType: []byte("order"), AggregateID: []byte("ä1"), Type: []byte("OrderPlaced"),
				Encoding: router.Avro, Fingerprint: [32]byte(bytes.Repeat([]byte{0xab}, 32)),
				Payload: []byte{0, 0xff, 0x10}, Headers: []byte(`{"k": "v"}`),
				OccurredAt: time.Date(2026, 2, 3, 4, 5, 6, 7000, time.UTC).UnixMicro(),
			}
			if fmt.Sprint(e) != fmt.Sprint(want) {
				t.Fatalf("got  %v\nwant %v", e, want)
			}
			if e.Position.Epoch != 1 || e.Position.LSN == 0 || e.Seq == 0 {
				t.Fatalf("position %s, seq %d", e.Position, e.Seq)
			}
			return
		}
	}
	t.Fatal(r.err)
}

func drain(r *running) {
	for range r.out {
	}
}

// TestCommitOrder: rows come in the order of commits, and what was rolled back
// never comes.
func TestCommitOrder(t *testing.T) {
	f := newFixture(t)
	s := f.open(t)
	a, b := f.Conn(t), f.Conn(t)
	ctx := t.Context()
	exec := func(c *pgx.Conn, sql string, args ...any) {
		t.Helper()
		if _, err := c.Exec(ctx, sql, args...); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	exec(a, "begin")
	exec(a, insertSQL, 10, 11, "a")
	exec(b, "begin")
	exec(b, insertSQL, 1, 1, "b")
	exec(a, insertSQL, 12, 12, "a")
	exec(b, "commit") // the later one commits first
	exec(a, "savepoint s")
	exec(a, insertSQL, 90, 95, "rolled back")
	exec(a, "rollback to s")
	exec(a, insertSQL, 13, 13, "a")
	exec(a, "savepoint kept")
	exec(a, insertSQL, 14, 14, "a")
	exec(a, "commit")
	exec(b, "begin")
	exec(b, insertSQL, 96, 99, "rolled back")
	exec(b, "rollback")
	// One that is prepared comes with COMMIT PREPARED.
	gid := quoteLiteral(f.Slot("gid"))
	exec(a, "begin")
	exec(a, insertSQL, 40, 41, "prepared")
	exec(a, "prepare transaction "+gid)
	exec(b, insertSQL, 20, 20, "b")
	exec(b, "commit prepared "+gid)
	// COPY, and many rows at once.
	copied, err := b.CopyFrom(ctx, pgx.Identifier{"runnel", "outbox"},
		[]string{"aggregate_type", "aggregate_id", "event_type", "encoding", "payload"},
		pgx.CopyFromSlice(3, func(i int) ([]any, error) {
			return []any{"order", "c", "OrderPlaced", int16(2), fmt.Appendf(nil, `{"n": %d}`, 50+i)}, nil
		}))
	if err != nil || copied != 3 {
		t.Fatalf("copy: %v", err)
	}
	exec(a, insertSQL, 60, 62, "a")

	r := follow(t, s)
	rows := r.await(15)
	if got, want := payloads(rows), "1 10 11 12 13 14 20 40 41 50 51 52 60 61 62"; got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	checkPositions(t, rows)
	checkSet(t, f, rows)
	r.mustStop()
}

// TestHugeTransaction: 60,000 rows in one transaction, in batches of bounded
// size, with nothing but the batches held.
func TestHugeTransaction(t *testing.T) {
	f := newFixture(t)
	s := f.open(t)
	f.unchecked(t)
	const n = 60_000
	f.insert(t, 1, n, "huge")
	r := start(t, s)
	defer func() { r.cancel(); drain(r); close(r.ended) }()
	rows := 0
	var lsn uint64
	for b := range r.out {
		if len(b.Inputs) > maxInputs || b.Bytes > 2*maxBytes {
			t.Fatalf("a batch of %d inputs, %d bytes", len(b.Inputs), b.Bytes)
		}
		for _, in := range b.Inputs {
			switch in.Kind {
			case router.Row:
				if in.Event.Position.Index != uint32(rows) || lsn != 0 && in.Event.Position.LSN != lsn {
					t.Fatalf("row %d is at %s", rows, in.Event.Position)
				}
				lsn = in.Event.Position.LSN
				rows++
			case router.Commit:
				if lsn == 0 {
					continue // the rows from before the slot
				}
				if rows != n || in.LSN <= lsn {
					t.Fatalf("commit after %d rows, at %x after %x", rows, in.LSN, lsn)
				}
				return
			}
		}
	}
	t.Fatal(r.err)
}

// TestHugeRow: a row larger than every buffer, between small ones.
func TestHugeRow(t *testing.T) {
	f := newFixture(t)
	s := f.open(t)
	f.insert(t, 1, 1, "small")
	const size = 4 << 20
	f.Exec(t, `insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload)
		values ('order', 'huge', 'OrderPlaced', 2, convert_to(repeat('x', $1), 'UTF8'))`, size)
	f.insert(t, 3, 3, "small")
	r := follow(t, s)
	rows := r.await(3)
	if len(rows[1].payload) != size || strings.Trim(rows[1].payload, "x") != "" {
		t.Fatalf("the huge row has %d bytes", len(rows[1].payload))
	}
	if rows[2].payload != `{"n": 3}` {
		t.Fatalf("got %q after it", rows[2].payload)
	}
	checkPositions(t, rows)
	r.mustStop()
}

// TestReplay: what is not confirmed comes again, at the same positions.
func TestReplay(t *testing.T) {
	f := newFixture(t)
	r := follow(t, f.open(t))
	f.insert(t, 1, 2, "a")
	r.await(2)
	r.mustStop()
	f.insert(t, 3, 5, "a")
	f.insert(t, 6, 6, "a")

	r = follow(t, f.open(t))
	r.mu.Lock()
	r.auto = false
	r.mu.Unlock()
	first := r.await(4)
	r.mustStop()
	s := f.open(t)
	if s.StartLSN() > first[0].at.LSN {
		t.Fatalf("starts at %x, beyond the first replayed %s", s.StartLSN(), first[0].at)
	}
	r = follow(t, s)
	if second := r.await(4); fmt.Sprint(second) != fmt.Sprint(first) {
		t.Fatalf("got %v, before %v", second, first)
	}
	r.mustStop()
}

// TestConfirmHalf: confirming the first of two transactions brings back only
// the second. The end of the first is confirmed, not its commit LSN.
func TestConfirmHalf(t *testing.T) {
	f := newFixture(t)
	r := follow(t, f.open(t))
	r.await(0)
	pgtest.Eventually(t, patience, func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.commits) == 1 })
	r.mu.Lock()
	r.auto = false
	r.mu.Unlock()
	f.insert(t, 1, 1, "a")
	f.insert(t, 2, 2, "a")
	r.await(2)
	pgtest.Eventually(t, patience, func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.commits) == 3 })
	r.Confirm(r.commits[1])
	r.Confirm(1) // a ratchet
	r.mustStop()
	s := f.open(t)
	if s.StartLSN() != r.commits[1] {
		t.Fatalf("starts at %x, confirmed was %x", s.StartLSN(), r.commits[1])
	}
	r2 := follow(t, s)
	if got := payloads(r2.await(1)); got != "2" {
		t.Fatalf("got %s", got)
	}
	r2.mustStop()
}

// TestBlockedOutput: nobody takes batches for longer than wal_sender_timeout,
// and the connection lives.
func TestBlockedOutput(t *testing.T) {
	f := newFixture(t)
	f.Exec(t, "alter role "+f.Role("daemon")+" set wal_sender_timeout = '1s'")
	f.config.StatusInterval = time.Hour // bounded by the server's timeout
	s := f.open(t)
	if s.statusInterval > time.Second/3 {
		t.Fatalf("status every %s", s.statusInterval)
	}
	f.unchecked(t)
	f.insert(t, 1, 50_000, "a")
	r := start(t, s)
	<-s.Started()
	pid := pgtest.Value[int32](t, f.DB, "select active_pid from pg_replication_slots where slot_name = $1", s.Slot())
	blocked := time.NewTimer(2 * time.Second)
	<-blocked.C
	r.auto = true
	go func() { defer close(r.ended); r.consume() }()
	r.await(50_000)
	if got := pgtest.Value[int32](t, f.DB, "select active_pid from pg_replication_slots where slot_name = $1", s.Slot()); got != pid {
		t.Fatalf("the walsender changed from %d to %d", pid, got)
	}
	r.mustStop()
}

// TestWALSenderKilled: the run ends with an error, and the next one resumes.
func TestWALSenderKilled(t *testing.T) {
	f := newFixture(t)
	r := follow(t, f.open(t))
	f.insert(t, 1, 3, "a")
	r.await(3)
	f.Exec(t, "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1", r.Slot())
	if err := r.wait(); err == nil || Halts(err) {
		t.Fatalf("got %v", err)
	}
	f.insert(t, 4, 6, "a")
	again := follow(t, f.open(t))
	pgtest.Eventually(t, patience, func() bool { return strings.HasSuffix(payloads(again.received()), "4 5 6") })
	again.mustStop()
	all := map[string]int{}
	for _, x := range append(r.received(), again.received()...) {
		all[x.at.String()+x.payload] = 1
	}
	if len(all) != 6 {
		t.Fatalf("%d different (position, event), want 6", len(all))
	}
}

// TestIdleConfirms: WAL that holds nothing for us moves the slot too.
func TestIdleConfirms(t *testing.T) {
	f := newFixture(t)
	s := f.open(t)
	r := follow(t, s)
	f.Exec(t, "create table other (n int); insert into other select generate_series(1, 1000)")
	target, err := parseLSN(pgtest.Value[string](t, f.DB, "select pg_current_wal_insert_lsn()::text"))
	if err != nil {
		t.Fatal(err)
	}
	conn := f.Conn(t)
	pgtest.Eventually(t, patience, func() bool {
		st, err := ReadSlot(context.Background(), conn, s.Slot())
		return err == nil && st.ConfirmedFlush >= recordStart(target) && st.LagBytes() < 1<<20 && st.ActivePID != 0
	})
	r.mustStop()
}

// TestStopIsQuick: the slot is free when Run returns.
func TestStopIsQuick(t *testing.T) {
	f := newFixture(t)
	for range 3 {
		r := follow(t, f.open(t))
		<-r.Started()
		r.mustStop()
		if st := pgtest.Value[bool](t, f.DB, "select active from pg_replication_slots where slot_name = $1", r.Slot()); st {
			t.Fatal("the slot is still in use after Run returned")
		}
	}
}

// TestSilentServer: a server that stops answering is noticed.
func TestSilentServer(t *testing.T) {
	f := newFixture(t)
	f.config.ReceiveTimeout = 300 * time.Millisecond
	s := f.open(t)
	r := follow(t, s)
	<-r.Started()
	// The ping keeps a healthy but idle connection alive.
	idle := time.NewTimer(time.Second)
	select {
	case <-idle.C:
	case <-r.ended:
		t.Fatalf("a healthy connection ended: %v", r.err)
	}
	r.mustStop()
}

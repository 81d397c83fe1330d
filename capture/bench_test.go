package capture

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/router"
)

func BenchmarkDecode(b *testing.B) {
	d := newDecoder(era(1), "p")
	var batch batcher
	for _, m := range [][]byte{relationMessage(1, "outbox", outboxOrder, outboxColumns), beginMessage(1 << 32)} {
		if err := d.decode(m, &batch); err != nil {
			b.Fatal(err)
		}
	}
	m := insertMessage(1, sampleRow(bytes.Repeat([]byte("x"), 200)))
	b.ReportAllocs()
	b.SetBytes(int64(len(m)))
	for b.Loop() {
		if err := d.decode(m, &batch); err != nil {
			b.Fatal(err)
		}
		if batch.full() {
			batch.cut().Release()
		}
	}
}

// BenchmarkDrain drains a backlog through Source.Run and, in the same run,
// through pg_recvlogical with its output thrown away: the decode limit.
func BenchmarkDrain(b *testing.B) {
	f := newFixture(b)
	const n, perTx = 300_000, 10
	s := f.open(b)
	f.Exec(b, "select pg_create_logical_replication_slot($1, 'pgoutput')", f.Slot("peer"))
	f.unchecked(b)
	f.Exec(b, `create procedure fill(n int, per int) language plpgsql as $$ begin
		for i in 1..n/per loop
			insert into runnel.outbox (id, aggregate_type, aggregate_id, event_type, encoding, payload, headers)
				select gen_random_uuid(), 'order', 'order-' || k, 'OrderPlaced', 2, convert_to(rpad('{"n": ' || k, 240, 'x'), 'UTF8'), '{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}'
				from generate_series(i * per, i * per + per - 1) k;
			commit;
		end loop; end $$`)
	conn := f.Conn(b)
	if _, err := conn.Exec(b.Context(), "call fill($1, $2)", n, perTx); err != nil {
		b.Fatal(err)
	}
	end := pgtest.Value[string](b, f.DB, "select pg_current_wal_insert_lsn()::text")
	for b.Loop() {
		cpu := cpuTime(b)
		began := time.Now()
		ctx, cancel := context.WithCancel(b.Context())
		out := make(chan *router.Batch, 8)
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx, out); close(out) }()
		rows, size, batches := 0, 0, 0
		for batch := range out {
			batches++
			size += batch.Bytes
			for i := range batch.Inputs {
				if batch.Inputs[i].Kind == router.Row {
					rows++
				}
			}
			if rows >= n {
				cancel()
			}
		}
		took := time.Since(began)
		cpu = cpuTime(b) - cpu
		if err := <-ended; err != nil {
			b.Fatal(err)
		}
		cancel()
		b.ReportMetric(n/took.Seconds(), "rows/s")
		b.ReportMetric(float64(cpu.Nanoseconds())/n, "cpu-ns/row")
		b.ReportMetric(float64(size)/n, "wire-B/row")
		b.ReportMetric(n/float64(batches), "rows/batch")
		if peer := recvlogical(b, f, end, n); peer > 0 {
			b.ReportMetric(n/peer.Seconds(), "recvlogical-rows/s")
		}
	}
}

// recvlogical returns how long pg_recvlogical takes, 0 if there is none.
func recvlogical(b *testing.B, f *fixture, end string, rows float64) time.Duration {
	path, err := exec.LookPath("pg_recvlogical")
	if err != nil {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pg_recvlogical")
		if len(found) == 0 {
			b.Log("no pg_recvlogical: no comparison")
			return 0
		}
		path = found[0]
	}
	began := time.Now()
	cmd := exec.Command(path, "-d", f.URL(), "-S", f.Slot("peer"), "--start", "-f", os.DevNull, "-E", end, "-n", "-F", "0",
		"-o", "proto_version=1", "-o", "publication_names=runnel", "-o", "binary=true")
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("pg_recvlogical: %v: %s", err, out)
	}
	took := time.Since(began)
	b.ReportMetric(float64((cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()).Nanoseconds())/rows, "recvlogical-cpu-ns/row")
	return took
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestDecodeAllocates next to nothing: a slab for 512 inputs.
func TestDecodeAllocates(t *testing.T) {
	d := newDecoder(era(1), "p")
	var batch batcher
	for _, m := range [][]byte{relationMessage(1, "outbox", outboxOrder, outboxColumns), beginMessage(1 << 32)} {
		if err := d.decode(m, &batch); err != nil {
			t.Fatal(err)
		}
	}
	m := insertMessage(1, sampleRow([]byte("payload")))
	allocs := testing.AllocsPerRun(100, func() {
		for range 1000 {
			if err := d.decode(m, &batch); err != nil {
				t.Fatal(err)
			}
			if batch.full() {
				batch.cut().Release()
			}
		}
	})
	if perRow := allocs / 1000; perRow > 0.01 {
		t.Fatalf("%.4f allocations per row", perRow)
	}
	if batch.last().Event.Position != (position.Position{Epoch: 1, LSN: 1 << 32, Index: d.index - 1}) {
		t.Fatal("wrong position")
	}
}

package torture

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/schemas"
)

// HugeOptions describe one transaction that is larger than memory.
type HugeOptions struct {
	Rows     int    // of the transaction
	RowBytes int    // of each event's payload, about
	Kill     bool   // the daemon is killed in the middle
	Binary   string // as in Options
	Dir      string // as in Options

	PGVersion string
	Say       func(format string, args ...any)
}

// HugeResult is what was seen.
type HugeResult struct {
	Rows       int
	Bytes      int64         // of payloads
	Written    time.Duration // until the transaction had committed
	Published  time.Duration // from the commit until the slot had passed it
	PeakMemory int64         // the most of any daemon, resident, bytes
	Silence    time.Duration // the longest the server waited for a status message
	Walsenders int           // how many served the daemons: 1, or 2 with a kill, when feedback flowed
	Findings   []string      // what must not be
}

// Huge writes one transaction and follows it to its topic: every row is there
// once, in order, though it is larger than the daemon's memory.
func Huge(ctx context.Context, o HugeOptions) (res HugeResult, err error) {
	if err := roomFor(5 * int64(o.Rows) * int64(o.RowBytes+200)); err != nil {
		return res, err
	}
	r := &runner{o: Options{Seed: 1, Dir: o.Dir, Binary: o.Binary, PGVersion: o.PGVersion}.withDefaults()}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return res, err
	}
	if err := writeSchemas(filepath.Join(o.Dir, "schemas")); err != nil {
		return res, err
	}
	if r.stack, err = devstack.Up(ctx, devstack.Options{Postgres: true, Pulsar: true, PGVersion: o.PGVersion, Ephemeral: true}); err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, r.stack.Down(context.WithoutCancel(ctx))) }()
	r.o.Before = 100
	if err := r.prepare(ctx); err != nil {
		return res, fmt.Errorf("prepare: %w", err)
	}
	// Nobody reads it, and it would keep all of the transaction in the server.
	if _, err := value[string](ctx, r.source, `select pg_drop_replication_slot($1)::text`, truthSlot); err != nil {
		return res, err
	}
	if err := r.startDaemon(ctx, ""); err != nil {
		return res, err
	}
	defer func() {
		for _, p := range r.spawned {
			p.Kill()
		}
	}()
	if err := r.snapshotDone(ctx); err != nil {
		return res, err
	}
	r.made = true

	res.Rows, res.Bytes = o.Rows, int64(o.Rows)*int64(o.RowBytes)
	began := time.Now()
	if err := writeHuge(ctx, r.source, o); err != nil {
		return res, fmt.Errorf("write: %w", err)
	}
	res.Written = time.Since(began)
	o.Say("%d rows committed after %s", o.Rows, res.Written.Round(time.Second))
	if err := r.follow(ctx, o, &res); err != nil {
		return res, err
	}
	o.Say("published after %s", res.Published.Round(time.Second))
	if res.PeakMemory > memoryBound {
		res.add("the daemon used %d MiB, the bound is %d MiB", res.PeakMemory>>20, memoryBound>>20)
	}
	if want := map[bool]int{false: 1, true: 2}[o.Kill]; res.Walsenders != want {
		res.add("%d walsenders served it, want %d: feedback did not flow", res.Walsenders, want)
	}
	return res, r.verifyHuge(ctx, o, &res)
}

func (r *HugeResult) add(format string, args ...any) {
	if len(r.Findings) < told {
		r.Findings = append(r.Findings, fmt.Sprintf(format, args...))
	}
}

// roomFor requires free space where the servers' data goes.
func roomFor(need int64) error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(os.TempDir(), &fs); err != nil {
		return err
	}
	if free := int64(fs.Bavail) * fs.Bsize; free < need {
		return fmt.Errorf("%s has %d MiB free, and %d MiB are needed: set TMPDIR", os.TempDir(), free>>20, need>>20)
	}
	return nil
}

// writeHuge copies the rows in, in one transaction. Their n counts them from 0, as
// the index of a position does; the text cannot be compressed.
func writeHuge(ctx context.Context, address string, o HugeOptions) error {
	db, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	event := eventNamed(opened)
	noise := make([]byte, 1<<20)
	if _, err := rand.Read(noise); err != nil {
		return err
	}
	for i := range noise {
		noise[i] = 'a' + noise[i]%26 // text
	}
	print := event.Fingerprint
	i := -1
	rows := pgx.CopyFromFunc(func() ([]any, error) {
		if i++; i == o.Rows {
			return nil, nil
		}
		at := i * 7919 % (len(noise) - o.RowBytes)
		d := draft{n: int64(i), writer: "huge", note: string(noise[at : at+o.RowBytes])}
		return []any{uuid.Must(uuid.NewV7()), event.AggregateType, "h" + strconv.Itoa(i%1000), event.Name, int16(1), print[:], d.avro()}, nil
	})
	_, err = db.CopyFrom(ctx, pgx.Identifier{"runnel", "outbox"},
		[]string{"id", "aggregate_type", "aggregate_id", "event_type", "encoding", "fingerprint", "payload"}, rows)
	return err
}

// follow waits until the slot has passed everything. It kills the daemon at the
// half when that is asked for.
func (r *runner) follow(ctx context.Context, o HugeOptions, res *HugeResult) error {
	began := time.Now()
	end, err := r.look(ctx)
	if err != nil {
		return err
	}
	kill := fmt.Sprintf("pipeline.sent:%d:kill", o.Rows/2)
	if o.Kill {
		if err := r.daemon.arm(kill); err != nil {
			return err
		}
	}
	served := make(map[int]bool)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		if !r.daemon.Alive() {
			if !o.Kill {
				return errors.New("the daemon ended by itself")
			}
			o.Kill = false
			o.Say("the daemon was killed after %s", time.Since(began).Round(time.Second))
			if err := r.startDaemon(ctx, ""); err != nil {
				return err
			}
		}
		if peak := peakMemory(r.daemon.PID()); peak > 0 {
			res.PeakMemory = max(res.PeakMemory, peak)
		}
		pid, silence, err := feedback(ctx, r.source)
		if err != nil {
			return err
		}
		if pid != 0 {
			served[pid] = true
			res.Silence = max(res.Silence, silence)
		}
		now, err := r.look(ctx)
		if err != nil {
			return err
		}
		if now.Confirmed >= end.WAL {
			res.Published, res.Walsenders = time.Since(began), len(served)
			return r.endHuge(ctx)
		}
	}
}

func (r *runner) endHuge(ctx context.Context) error {
	r.daemon.Signal(syscall.SIGTERM)
	return r.daemon.gone(ctx, r.o.Patience)
}

// feedback returns the walsender and the time since the last status message.
func feedback(ctx context.Context, address string) (pid int, silence time.Duration, err error) {
	db, err := pgx.Connect(ctx, address)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	var micros int64
	err = db.QueryRow(ctx, `select s.active_pid, coalesce(1e6 * extract(epoch from clock_timestamp() - r.reply_time), 0)::bigint
		from pg_replication_slots s join pg_stat_replication r on r.pid = s.active_pid where s.slot_name = $1`, slotName).Scan(&pid, &micros)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, 0, nil
	}
	return pid, time.Duration(micros) * time.Microsecond, err
}

// verifyHuge reads the topic raw. The rows' n is their index, so one bit a row
// shows what is lost or doubled.
func (r *runner) verifyHuge(ctx context.Context, o HugeOptions, res *HugeResult) error {
	client, err := broker.Dial(ctx, broker.Config{URL: r.stack.PulsarURL, AdminURL: r.stack.PulsarAdminURL, Name: "torture"})
	if err != nil {
		return err
	}
	defer client.Close()
	full := wire.TopicName(namespace, topicOf()[opened])
	versions, err := schemas.NewRegistry(client.AdminURL(), client.HTTP()).Versions(ctx, full)
	if err != nil {
		return err
	}
	seen := make([]uint64, o.Rows/64+1)
	total := 0
	for i := range partitions {
		n, err := r.verifyPart(ctx, client, broker.Partition{Topic: full, Index: i}, versions[len(versions)-1], seen, res)
		if err != nil {
			return err
		}
		total += n
	}
	if total != o.Rows {
		res.add("%d messages of %d rows", total, o.Rows)
	}
	return nil
}

func (r *runner) verifyPart(ctx context.Context, client *broker.Pulsar, p broker.Partition, schema *schemas.TopicSchema, seen []uint64, res *HugeResult) (rows int, err error) {
	var last position.Stamp
	err = eachMessage(ctx, client, p, func(m *broker.Incoming) error {
		stamp, err := position.ParseStamp(m.Properties[position.Property])
		if err != nil {
			return err
		}
		if !last.Less(stamp.Position) || stamp.Ordinal != last.Ordinal+1 {
			res.add("%s: %s after %s", p, stamp, last)
		}
		last = stamp
		_, payload, err := schema.Split(m.Payload)
		if err != nil {
			return err
		}
		n, used := binary.Varint(payload)
		if used <= 0 || !strings.HasPrefix(string(payload[used:min(len(payload), used+5)]), "\x08huge") {
			return nil // from before
		}
		rows++
		if n != int64(stamp.Index) || seen[n/64]&(1<<(n%64)) != 0 {
			res.add("%s: row %d at index %d, or a second time", p, n, stamp.Index)
		}
		seen[n/64] |= 1 << (n % 64)
		return nil
	})
	return rows, err
}

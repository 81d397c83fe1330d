package capture

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
)

// failoverSince is the first version whose slots survive a failover.
const failoverSince = 170000

// makeSlot makes the slot. The snapshot that it exports dies with the next command on the
// replication connection.
func (s *Source) makeSlot(ctx context.Context) (point uint64, exported string, err error) {
	stop := s.sayWhatCreationAwaits(ctx)
	// It waits for every running transaction of the cluster. When ctx ends,
	// pgconn tells the server to stop, or the slot would stay busy until then.
	options := "SNAPSHOT 'export'"
	if s.version >= failoverSince {
		options += ", FAILOVER" // a standby that synchronises slots takes it over
	}
	result, err := pglogrepl.ParseCreateReplicationSlot(s.repl.Exec(ctx,
		"CREATE_REPLICATION_SLOT "+quoteSlot(s.cfg.Slot)+" LOGICAL pgoutput ("+options+")"))
	stop()
	if err != nil {
		return 0, "", queryFault(err, "create slot "+s.cfg.Slot)
	}
	point, err = parseLSN(result.ConsistentPoint)
	return point, result.SnapshotName, err
}

// createSlot makes the first slot and commits its record.
func (s *Source) createSlot(ctx context.Context) error {
	point, exported, err := s.makeSlot(ctx)
	if err != nil {
		return err
	}
	tx, snapshot, err := s.see(ctx, exported)
	if err != nil {
		return err
	}
	if err := tx.Rollback(ctx); err != nil {
		return queryFault(err, "read the slot's snapshot")
	}
	// A commit that this server loses in a crash would let the rows be chosen
	// anew after some were published.
	err = pgx.BeginFunc(ctx, s.sql, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `set local synchronous_commit = on`); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `insert into runnel.epoch (epoch, system_id, timeline, begin_lsn)
			select 1, $1, $2, $3::text::pg_lsn where not exists (select from runnel.epoch)
			on conflict do nothing`, s.systemID, s.timeline, pglogrepl.LSN(point).String()); err != nil {
			return err
		}
		// Where the server's era is recorded, by this or by another pipeline of the
		// database, there is nothing to settle: this one has published nothing.
		_, err := tx.Exec(ctx, `insert into runnel.pipeline (name, slot, system_id, consistent_point, snapshot, snapshot_done, settled_epoch, slot_limit)
			values ($1, $2, $5, $3::text::pg_lsn, $4::text::pg_snapshot, false,
				coalesce((select max(epoch) from runnel.epoch where system_id = $5 and timeline = $6), 0), $3::text::pg_lsn)
			on conflict (name) do update set slot = excluded.slot, system_id = excluded.system_id, settled_epoch = excluded.settled_epoch,
				consistent_point = excluded.consistent_point, snapshot = excluded.snapshot, slot_limit = excluded.slot_limit
			where runnel.pipeline.consistent_point is null or runnel.pipeline.snapshot is null`,
			s.cfg.Pipeline, s.cfg.Slot, pglogrepl.LSN(point).String(), snapshot, s.systemID, s.timeline)
		return err
	})
	if err != nil {
		return queryFault(err, "record the pipeline")
	}
	if s.rec, err = readRecord(ctx, s.sql, s.cfg.Pipeline); err != nil {
		return err
	}
	if s.rec == nil {
		return fmt.Errorf("the record of pipeline %s is gone right after it was made", s.cfg.Pipeline)
	}
	if s.eras, err = s.readLineage(ctx); err != nil {
		return err
	}
	s.start, s.flushed = point-1, point
	s.cfg.Logger.Info("made the slot", keySlot, s.cfg.Slot, keyLSN, pglogrepl.LSN(point).String())
	return nil
}

// see begins a transaction that sees what an exported snapshot does, or what there is
// now where none is named, and returns which transactions that are.
//
// Transactions that rolled back while the slot was made can leave the snapshot's xmax
// below its xmin, a text that pg_snapshot refuses. What lies between has ended,
// and is below xmin, which decides first: with xmax at xmin it says the same.
func (s *Source) see(ctx context.Context, exported string) (tx pgx.Tx, snapshot string, err error) {
	if tx, err = s.sql.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}); err != nil {
		return nil, "", queryFault(err, "read the slot's snapshot")
	}
	if exported != "" {
		// The name is the server's own; the statement takes no parameters.
		_, err = tx.Exec(ctx, "set transaction snapshot "+quoteLiteral(exported))
	}
	if err == nil {
		err = tx.QueryRow(ctx, `select case when pg_snapshot_xmin(s) > pg_snapshot_xmax(s)
			then format('%s:%s:', pg_snapshot_xmin(s), pg_snapshot_xmin(s)) else s::text end
			from pg_current_snapshot() s`).Scan(&snapshot)
	}
	if err != nil {
		_ = tx.Rollback(context.WithoutCancel(ctx)) // the connection ends with the source
		return nil, "", queryFault(err, "read the slot's snapshot")
	}
	return tx, snapshot, nil
}

// sayWhatCreationAwaits logs, once a second, whom the creation of the slot
// waits for, until stop is called. A query under way is left to end: to cut it
// short would close the SQL connection.
func (s *Source) sayWhatCreationAwaits(ctx context.Context) (stop func()) {
	stopped, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		said := ""
		for {
			select {
			case <-stopped:
				return
			case <-tick.C:
			}
			waits, err := readAwaited(ctx, s.sql, s.repl.PID())
			if err != nil || waits == "" || waits == said {
				continue // only a help for the reader: the creation itself reports errors
			}
			said = waits
			s.cfg.Logger.Warn("making the slot waits for a transaction to end", keySlot, s.cfg.Slot, "awaits", waits)
		}
	}()
	return func() { close(stopped); <-done }
}

// readAwaited names the transaction that a walsender waits for.
func readAwaited(ctx context.Context, conn *pgx.Conn, pid uint32) (waits string, err error) {
	err = conn.QueryRow(ctx, `
		select coalesce(
			(select format('pid %s (%s, user %s, database %s)', a.pid, nullif(a.application_name, ''), a.usename, a.datname)
				from pg_locks h join pg_stat_activity a using (pid)
				where h.locktype = 'transactionid' and h.granted and h.transactionid = w.transactionid),
			(select format('prepared transaction %L of database %s', p.gid, p.database)
				from pg_prepared_xacts p where p.transaction = w.transactionid),
			format('transaction %s', w.transactionid))
		from pg_locks w where w.pid = $1 and w.locktype = 'transactionid' and not w.granted`, int32(pid)).Scan(&waits)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return waits, err
}

func (s *Source) dropSlot(ctx context.Context, name string) error {
	err := pglogrepl.DropReplicationSlot(ctx, s.repl, quoteSlot(name), pglogrepl.DropReplicationSlotOptions{})
	if err != nil {
		return queryFault(err, "drop slot "+name)
	}
	return nil
}

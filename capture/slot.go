package capture

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// record is the pipeline's row in runnel.pipeline: what its slot began with.
// It is committed before the first event is published, so that the rows from
// before the slot can be selected again, with the same positions.
type record struct {
	slot            string
	systemID        string
	consistentPoint uint64
	snapshot        string // pg_snapshot: what was committed before the slot
	settled         uint32 // the newest epoch that the pipeline may publish under
	done            bool   // all rows of the snapshot are confirmed
	inferred        bool   // done is not recorded, but follows from the slot's position
	created         time.Time
}

func readRecord(ctx context.Context, conn *pgx.Conn, pipeline string) (*record, error) {
	var r record
	var point string
	var settled int32
	err := conn.QueryRow(ctx, `select slot, system_id::text, consistent_point::text, snapshot::text, snapshot_done, created_at, settled_epoch
		from runnel.pipeline where name = $1 and consistent_point is not null and snapshot is not null`, pipeline).
		Scan(&r.slot, &r.systemID, &point, &r.snapshot, &r.done, &r.created, &settled)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, queryFault(err, "read the pipeline's record")
	}
	r.consistentPoint, err = parseLSN(point)
	r.settled = uint32(settled)
	return &r, err
}

// ensureSlot leaves s with a slot that may be streamed from and the record of
// its beginning, or says why there is none. The table of cases:
//
//	recorded  slot present            what
//	yes       yes                     use it, if it is ours and not lost
//	yes       no                      SLOT_MISSING
//	no        yes, nothing published  drop it and make it anew
//	no        no, nothing published   make it
//	no        something published     SLOT_MISSING: the record was removed
//
// A lock makes one process at a time look, make and record: a slot that another
// has made and not yet recorded looks like one left behind.
func (s *Source) ensureSlot(ctx context.Context) (err error) {
	unlock, err := s.lockPipeline(ctx, lockWait)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	rec, err := readRecord(ctx, s.sql, s.cfg.Pipeline)
	if err != nil {
		return err
	}
	st, err := ReadSlot(ctx, s.sql, s.cfg.Slot)
	if err != nil {
		return err
	}
	if rec != nil && rec.slot != s.cfg.Slot {
		return ErrSlotMismatch.New("pipeline %s was recorded with slot %s, configured is %s",
			s.cfg.Pipeline, rec.slot, s.cfg.Slot)
	}
	if err := st.CheckOwner(s.database); err != nil {
		return err
	}
	if rec != nil {
		if !st.Exists {
			return ErrSlotMissing.New("slot %s of pipeline %s, made at %X/%X, is gone",
				s.cfg.Slot, s.cfg.Pipeline, rec.consistentPoint>>32, uint32(rec.consistentPoint))
		}
		if s.eras, err = s.readLineage(ctx); err != nil {
			return err
		}
		if s.eras == nil {
			return ErrEpochChanged.New("the pipeline is recorded, but no history is")
		}
		if err := st.CheckUsable(); err != nil {
			return err
		}
		s.rec, s.start, s.flushed = rec, st.ConfirmedFlush, st.ConfirmedFlush
		switch {
		case rec.done:
		case st.ConfirmedFlush > rec.consistentPoint:
			// A slot begins at its consistent point, and goes on only by what
			// was confirmed: the rows from before it, which come first, are
			// then confirmed too, and the process ended before it recorded
			// that. To begin with them again is not possible: the slot does
			// not replay what followed them. In case a person moved the slot,
			// the audit follows them, and it is recorded that they are done
			// when progress is saved, which comes after the audit.
			rec.done, rec.inferred = true, true
		default:
			s.start = rec.consistentPoint - 1
		}
		return nil
	}
	if err := s.refuseIfPublished(ctx); err != nil {
		return err
	}
	if s.cfg.Existing {
		return ErrSlotMissing.New("pipeline %s has not begun to stream from database %s", s.cfg.Pipeline, s.database).
			Fix("Run the daemon: it makes the slot.")
	}
	if _, err := s.readLineage(ctx); err != nil {
		return err // before a slot is made that could not be used
	}
	if st.Exists {
		if st.Active {
			return s.busy(ctx, nil)
		}
		s.cfg.Logger.Warn("dropping a slot that was never recorded and published nothing", keySlot, s.cfg.Slot)
		if err := pglogrepl.DropReplicationSlot(ctx, s.repl, quoteSlot(s.cfg.Slot), pglogrepl.DropReplicationSlotOptions{}); err != nil {
			return queryFault(err, "drop slot "+s.cfg.Slot)
		}
	}
	return s.createSlot(ctx)
}

const (
	lockWait  = 5 * time.Second // for another process that makes the slot
	lockEvery = 50 * time.Millisecond
)

// lockPipeline takes the pipeline's lock for this session, waiting for at most
// limit. It is asked for again and again, because a statement that waits would
// be a transaction, which the making of the slot waits for.
func (s *Source) lockPipeline(ctx context.Context, limit time.Duration) (unlock func() error, err error) {
	const key = `(hashtextextended('runnel.pipeline ' || $1::text, 0))`
	tick := time.NewTicker(lockEvery)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); ; {
		var mine bool
		if err := s.sql.QueryRow(ctx, `select pg_try_advisory_lock`+key, s.cfg.Pipeline).Scan(&mine); err != nil {
			return nil, queryFault(err, "lock the pipeline")
		}
		if mine {
			break
		}
		if time.Now().After(deadline) {
			return nil, ErrSlotBusy.New("another process is looking at slot %s or making it", s.cfg.Slot)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
	return func() error {
		if s.sql.IsClosed() {
			return nil // and the lock is gone with it
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
		defer cancel()
		if _, err := s.sql.Exec(ctx, `select pg_advisory_unlock`+key, s.cfg.Pipeline); err != nil {
			return queryFault(err, "unlock the pipeline")
		}
		return nil
	}, nil
}

// refuseIfPublished stops the making of a slot for a pipeline that has
// published: what lies between its last event and the new slot would be lost.
func (s *Source) refuseIfPublished(ctx context.Context) error {
	var progress bool
	if err := s.sql.QueryRow(ctx, `select exists (select from runnel.progress where pipeline = $1)
		or exists (select from runnel.progress_partition where pipeline = $1)`, s.cfg.Pipeline).Scan(&progress); err != nil {
		return queryFault(err, "read the pipeline's progress")
	}
	if !progress && s.cfg.Published != nil {
		var err error
		if progress, err = s.cfg.Published(ctx); err != nil {
			return fmt.Errorf("ask whether pipeline %s has published: %w", s.cfg.Pipeline, err)
		}
	}
	if progress {
		return ErrSlotMissing.New("the topics hold events, but database %s has no record that pipeline %s published them", s.database, s.cfg.Pipeline).
			Fix("If another database publishes to these topics, or this one was made anew, give it a namespace of its own (topics.namespace). " +
				"If this one has published, its record and slot were removed: do not make them anew, a repair publishes from the rows that the outbox retains.")
	}
	return nil
}

// failoverSince is the first version whose slots survive a failover.
const failoverSince = 170000

// createSlot makes the slot and commits its record. The exported snapshot dies
// with the next command on the replication connection.
func (s *Source) createSlot(ctx context.Context) error {
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
		return queryFault(err, "create slot "+s.cfg.Slot)
	}
	point, err := parseLSN(result.ConsistentPoint)
	if err != nil {
		return err
	}
	snapshot, err := s.readExported(ctx, result.SnapshotName)
	if err != nil {
		return err
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
		_, err := tx.Exec(ctx, `insert into runnel.pipeline (name, slot, system_id, consistent_point, snapshot, snapshot_done, settled_epoch)
			values ($1, $2, $5, $3::text::pg_lsn, $4::text::pg_snapshot, false,
				coalesce((select epoch from runnel.epoch where system_id = $5 and timeline = $6), 0))
			on conflict (name) do update set slot = excluded.slot, system_id = excluded.system_id, settled_epoch = excluded.settled_epoch,
				consistent_point = excluded.consistent_point, snapshot = excluded.snapshot
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

// readExported reads, within the slot's snapshot, which transactions it sees.
//
// Transactions that rolled back while the slot was made can leave its xmax
// below its xmin, a text that pg_snapshot refuses. What lies between has ended,
// and is below xmin, which decides first: with xmax at xmin it says the same.
func (s *Source) readExported(ctx context.Context, name string) (snapshot string, err error) {
	err = pgx.BeginTxFunc(ctx, s.sql, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		// The name is the server's own; the statement takes no parameters.
		if _, err := tx.Exec(ctx, "set transaction snapshot "+quoteLiteral(name)); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `select case when pg_snapshot_xmin(s) > pg_snapshot_xmax(s)
			then format('%s:%s:', pg_snapshot_xmin(s), pg_snapshot_xmin(s)) else s::text end
			from pg_current_snapshot() s`).Scan(&snapshot)
	})
	if err != nil {
		return "", queryFault(err, "read the slot's snapshot")
	}
	return snapshot, nil
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

// busy names who holds the slot.
func (s *Source) busy(ctx context.Context, cause error) error {
	s.sqlMu.Lock()
	defer s.sqlMu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	slot, err := ReadSlot(ctx, s.sql, s.cfg.Slot)
	if err != nil || !slot.Active { // it was given up in between
		return ErrSlotBusy.Wrap(cause, "slot %s is in use", s.cfg.Slot)
	}
	return ErrSlotBusy.New("slot %s is in use by %s", s.cfg.Slot, slot.Holder(ctx, s.sql)).
		Fix("If it should not run, stop it, or as a superuser:\n  SELECT pg_terminate_backend(%d);", slot.ActivePID)
}

// identify reads the server's history, and which database this is.
func (s *Source) identify(ctx context.Context) error {
	id, err := pglogrepl.IdentifySystem(ctx, s.repl)
	if err != nil {
		var pg *pgconn.PgError
		if errors.As(err, &pg) {
			err = pgText(pg)
		}
		return ErrUnreachable.Wrap(err, "identify the server")
	}
	s.systemID, s.timeline, s.database = id.SystemID, id.Timeline, id.DBName
	return nil
}

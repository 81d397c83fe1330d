package capture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ensureSlot leaves s with a slot that may be streamed from and the record of
// its beginning, or says why there is none. The table of cases:
//
//	recorded  slot present            what
//	yes       yes                     use it, if it is ours and whole
//	yes       no                      SLOT_MISSING
//	no        yes, nothing published  drop it and make it anew
//	no        no, nothing published   make it
//	no        something published     SLOT_MISSING: the record was removed
//
// What is no use is left in s.damage where Config.Repair is set, else returned.
//
// A lock makes one process at a time look, make and record: a slot that another
// has made and not yet recorded looks like one left behind. A repair keeps it
// until it closes the connection.
func (s *Source) ensureSlot(ctx context.Context) (err error) {
	unlock, err := s.lockPipeline(ctx, lockWait)
	if err != nil {
		return err
	}
	if !s.cfg.Repair {
		defer func() { err = errors.Join(err, unlock()) }()
	}
	// Before the record: the daemon that streams raises its limit before the slot moves.
	st, err := ReadSlot(ctx, s.sql, s.cfg.Slot)
	if err != nil {
		return err
	}
	if s.rec, err = readRecord(ctx, s.sql, s.cfg.Pipeline); err != nil {
		return err
	}
	if err := s.sameSlot(ctx); err != nil {
		return err
	}
	if err := st.CheckOwner(s.database); err != nil {
		return err
	}
	if err := s.notOthers(ctx); err != nil {
		return err
	}
	if s.rec == nil {
		return s.firstSlot(ctx, st)
	}
	if s.eras, err = s.readLineage(ctx); err != nil {
		return err
	}
	if s.eras == nil {
		return ErrEpochChanged.New("the pipeline is recorded, but no history is")
	}
	if s.damage = s.inspect(st); s.damage != nil {
		if s.cfg.Repair {
			return nil
		}
		return s.damage
	}
	s.useSlot(st)
	return nil
}

// sameSlot requires that the pipeline was recorded with the configured slot. A repair
// may give it another, when the recorded one is of no use.
func (s *Source) sameSlot(ctx context.Context) error {
	if s.rec == nil || s.rec.slot == s.cfg.Slot {
		return nil
	}
	if s.cfg.Repair {
		recorded, err := ReadSlot(ctx, s.sql, s.rec.slot)
		if err != nil {
			return err
		}
		if !recorded.Exists || recorded.CheckOwner(s.database) != nil || recorded.CheckUsable() != nil {
			return nil
		}
	}
	return ErrSlotMismatch.New("pipeline %s was recorded with slot %s, configured is %s",
		s.cfg.Pipeline, s.rec.slot, s.cfg.Slot)
}

// notOthers requires that no other pipeline was recorded with the slot.
func (s *Source) notOthers(ctx context.Context) error {
	var other string
	err := s.sql.QueryRow(ctx, `select coalesce(min(name), '') from runnel.pipeline where slot = $1 and name <> $2`, s.cfg.Slot, s.cfg.Pipeline).Scan(&other)
	if err != nil {
		return queryFault(err, "look for the slot's pipeline")
	}
	if other != "" {
		return ErrSlotForeign.New("slot %s is that of pipeline %s", s.cfg.Slot, other).Fix("Give the pipeline another slot name (capture.slot).")
	}
	return nil
}

// inspect says why the recorded slot is not to be streamed from; nil when it is.
func (s *Source) inspect(st Slot) error {
	rec := s.rec
	switch {
	case s.Moved():
		return errOtherServer(fmt.Sprintf("recorded: system %s; the server: system %s", rec.systemID, s.systemID))
	case rec.damage == damageRepair:
		return ErrRepairUnfinished.New("a repair of slot %s, of pipeline %s, was begun and not ended", s.cfg.Slot, s.cfg.Pipeline)
	case rec.damage != "":
		return ErrGap.New("slot %s of pipeline %s did not stream what it should have", s.cfg.Slot, s.cfg.Pipeline)
	case rec.slot != s.cfg.Slot:
		return ErrSlotMissing.New("pipeline %s goes on with slot %s, after %s", s.cfg.Pipeline, s.cfg.Slot, rec.slot)
	case !st.Exists:
		return ErrSlotMissing.New("slot %s of pipeline %s, made at %s, is gone", s.cfg.Slot, s.cfg.Pipeline, pglogrepl.LSN(rec.consistentPoint))
	}
	if err := st.CheckUsable(); err != nil {
		return err
	}
	// Of another era nothing is known: it is the audit's to find out.
	settled := len(s.Unsettled()) == 0
	if settled && rec.limit != 0 && st.ConfirmedFlush > rec.limit {
		return ErrSlotMoved.New("slot %s is at %s, and pipeline %s has confirmed nothing beyond %s", s.cfg.Slot,
			pglogrepl.LSN(st.ConfirmedFlush), s.cfg.Pipeline, pglogrepl.LSN(rec.limit))
	}
	return nil
}

// Inspect says, for who only looks, why a slot must be repaired before the pipeline that
// it was recorded for may stream from it; nil when nothing of that is known, or recorded.
func Inspect(ctx context.Context, conn *pgx.Conn, pipeline string, slot Slot) error {
	rec, err := readRecord(ctx, conn, pipeline)
	if err != nil || rec == nil {
		return err
	}
	s := &Source{cfg: settings{Config: Config{Pipeline: pipeline, Slot: slot.Name}}, rec: rec}
	var now Era
	var epoch int32
	err = conn.QueryRow(ctx, `select s.system_identifier::text, w.timeline,
			coalesce((select max(e.epoch) from runnel.epoch e where e.system_id = s.system_identifier::text and e.timeline = w.timeline), 0)
		from pg_control_system() s
		cross join (select ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer) w (timeline)`).Scan(&now.SystemID, &now.Timeline, &epoch)
	if err != nil {
		return queryFault(err, "identify the server")
	}
	now.Epoch = uint32(epoch)
	s.systemID, s.eras = now.SystemID, lineage{now}
	return s.inspect(slot)
}

// useSlot makes the slot the one to stream from.
func (s *Source) useSlot(st Slot) {
	rec := s.rec
	s.start, s.flushed = st.ConfirmedFlush, st.ConfirmedFlush
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
}

// firstSlot makes the slot of a pipeline that has no record.
func (s *Source) firstSlot(ctx context.Context, st Slot) error {
	if err := s.refuseIfPublished(ctx); err != nil {
		if !s.cfg.Repair || !errors.Is(err, ErrSlotMissing) {
			return err
		}
		eras, lineageErr := s.readLineage(ctx)
		if lineageErr != nil || eras == nil || eras.newest().Epoch == 0 { // whose events they are nobody knows
			return cmp.Or(lineageErr, err)
		}
		s.eras, s.damage = eras, err
		return nil
	}
	if s.cfg.Repair {
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
		if err := s.dropSlot(ctx, s.cfg.Slot); err != nil {
			return err
		}
	}
	return s.createSlot(ctx)
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
		others, err := s.otherPipelines(ctx)
		if err != nil {
			return err
		}
		return ErrSlotMissing.New("the topics hold events, but database %s has no record that pipeline %s published them%s", s.database, s.cfg.Pipeline, others).
			Fix("If the pipeline had another name (by default that of the database), configure that (name). If another database publishes to these topics, or this one was made anew, give it a namespace of its own (topics.namespace). " +
				"If this one has published, its record and slot were removed: do not make them anew. `runnel slot repair` does, and publishes what is missing from the rows that the outbox retains.")
	}
	return nil
}

// otherPipelines names the pipelines that the database has a record of, as the end of a
// sentence about another one.
func (s *Source) otherPipelines(ctx context.Context) (string, error) {
	var names string
	err := s.sql.QueryRow(ctx, `select coalesce(string_agg(name, ', ' order by name), '') from (select name from runnel.pipeline limit 5) p`).Scan(&names)
	if err != nil {
		return "", queryFault(err, "look for other pipelines")
	}
	if names == "" {
		return "", nil
	}
	return "; it has one of " + names, nil
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

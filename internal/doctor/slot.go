package doctor

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/pipeline"
)

var slotChecks = []Check{
	{Name: "slot", About: "the replication slot is the recorded one, and usable", Needs: []string{"outbox"}, Run: checkSlot},
	{Name: "wal-retention", About: "the server keeps the WAL that the slot needs, and its disk can bear it", Needs: []string{"slot"}, Run: checkRetention},
}

func checkSlot(ctx context.Context, s *Session) (string, error) {
	name := s.cfg.Capture.Slot
	slot, err := capture.ReadSlot(ctx, s.pg, name)
	if err != nil {
		return "", queryFault(err, "read the slot")
	}
	var recorded string
	err = s.pg.QueryRow(ctx, `select slot from runnel.pipeline where name = $1`, s.cfg.Name).Scan(&recorded)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", queryFault(err, "read the pipeline's record")
	}
	var daemon *pipeline.Status
	if slot.Exists && !slot.Active {
		daemon = s.askDaemon(ctx).Status
	}
	saw, err := judgeSlot(slot, recorded, s.cfg.Name, s.pg.Config().Database, daemon)
	if err == nil && slot.Active {
		saw += ", streamed by " + slot.Holder(ctx, s.pg)
	}
	return saw, err
}

// judgeSlot compares a slot with the one that the pipeline recorded, if any.
// daemon is nil if none answers.
func judgeSlot(slot capture.Slot, recorded, name, database string, daemon *pipeline.Status) (string, error) {
	switch {
	case recorded != "" && recorded != slot.Name:
		return "", capture.ErrSlotMismatch.New("pipeline %s was recorded with slot %s, configured is %s", name, recorded, slot.Name)
	case !slot.Exists && recorded != "":
		return "", capture.ErrSlotMissing.New("slot %s was recorded, but is not on the server", slot.Name)
	case !slot.Exists:
		return "slot " + slot.Name + " is not there yet; the first `runnel run` creates it", nil
	}
	if err := slot.CheckOwner(database); err != nil {
		return "", err
	}
	if err := slot.CheckUsable(); err != nil {
		return "", err
	}
	switch {
	case slot.WALStatus == "unreserved":
		return "", warning{ErrSlotAtRisk.New("slot %s needs WAL beyond max_slot_wal_keep_size (wal_status is unreserved)", slot.Name)}
	case !slot.Active:
		e := ErrSlotIdle.New("slot %s is %s behind, and nobody streams from it", slot.Name, FormatBytes(int64(slot.LagBytes())))
		if daemon != nil {
			e.Message += ", for the daemon is " + daemon.State
			e = e.Fix("There is nothing to start: the daemon runs, and streams again by itself once what the check `daemon` says is put right.")
		}
		return "", warning{e}
	}
	return fmt.Sprintf("slot %s is %s behind", slot.Name, FormatBytes(int64(slot.LagBytes()))), nil
}

// manyBytes is what an unlimited slot may keep before the doctor warns.
const manyBytes = 10 << 30

func checkRetention(ctx context.Context, s *Session) (string, error) {
	slot, err := capture.ReadSlot(ctx, s.pg, s.cfg.Capture.Slot)
	if err != nil {
		return "", queryFault(err, "read the slot")
	}
	var limitMB int64
	if err := s.pg.QueryRow(ctx, `select setting::bigint from pg_settings where name = 'max_slot_wal_keep_size'`).Scan(&limitMB); err != nil {
		return "", queryFault(err, "read max_slot_wal_keep_size")
	}
	return judgeRetention(int64(slot.RetainedBytes()), limitMB)
}

// judgeRetention takes bytes and max_slot_wal_keep_size, in MB; -1: no limit.
func judgeRetention(retained, limitMB int64) (string, error) {
	if limitMB < 0 {
		saw := FormatBytes(retained) + " of WAL kept, without limit (max_slot_wal_keep_size = -1)"
		if retained > manyBytes {
			return "", warning{ErrWALRetained.New("%s", saw)}
		}
		return saw, nil
	}
	saw := fmt.Sprintf("%s of WAL kept of at most %s (max_slot_wal_keep_size)", FormatBytes(retained), FormatBytes(limitMB<<20))
	if retained > limitMB<<20/2 {
		return "", warning{ErrSlotAtRisk.New("%s", saw)}
	}
	return saw, nil
}

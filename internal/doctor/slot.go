package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/walwatch"
)

var slotChecks = []Check{
	{Name: "slot", About: "the replication slot is the recorded one, and usable", Needs: []string{"outbox"}, Run: checkSlot},
	{Name: "wal-retention", About: "the server keeps the WAL that the slot needs, its disk can bear it, and nothing holds it back", Needs: []string{"slot"}, Run: checkRetention},
	{Name: "wal-limits", About: "the server bounds what a slot keeps, and gives none up for being idle", Needs: []string{"postgres"}, Run: checkLimits},
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
	if err == nil || errors.As(err, new(warning)) {
		if damage := capture.Inspect(ctx, s.pg, s.cfg.Name, slot); damage != nil {
			return "", damage
		}
	}
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
	if !slot.Active {
		e := ErrSlotIdle.New("slot %s is %s behind, and nobody streams from it", slot.Name, FormatBytes(int64(slot.LagBytes())))
		if daemon != nil {
			e.Message += ", for the daemon is " + daemon.State
			e = e.Fix("There is nothing to start: the daemon runs, and streams again by itself once what the check `daemon` says is put right.")
		}
		return "", warning{e}
	}
	return fmt.Sprintf("slot %s is %s behind", slot.Name, FormatBytes(int64(slot.LagBytes()))), nil
}

func checkRetention(ctx context.Context, s *Session) (string, error) {
	st, err := walwatch.Read(ctx, s.pg, s.cfg.Capture.Slot)
	if err != nil {
		return "", queryFault(err, "look at the WAL that is kept")
	}
	if !st.Slot.Exists {
		return "no WAL is kept: the slot is not there yet", nil
	}
	saw := st.Kept()
	if text := walwatch.StatusText(st.Slot.WALStatus); text != "" {
		saw += "; wal_status is " + st.Slot.WALStatus + ": " + text
	}
	return saw, warn(slices.DeleteFunc(st.Warnings(nil), func(e *fault.Error) bool {
		return e.Code == walwatch.ErrStandbyAwaited // the check "failover" says it
	}))
}

func checkLimits(ctx context.Context, s *Session) (string, error) {
	st, err := walwatch.Read(ctx, s.pg, s.cfg.Capture.Slot)
	if err != nil {
		return "", queryFault(err, "read the server's limits")
	}
	return "a slot keeps at most " + FormatBytes(st.Limit) + " of WAL, and none is given up for being idle", warn(st.Hazards())
}

// warn makes one warning of several faults, under the code of the first.
func warn(all []*fault.Error) error {
	if len(all) == 0 {
		return nil
	}
	var messages, remedies []string
	for _, e := range all {
		messages = append(messages, e.Message)
		remedies = append(remedies, e.WhatToDo())
	}
	return warning{all[0].Code.New("%s", strings.Join(messages, "; ")).Fix("%s", strings.Join(remedies, "\n"))}
}

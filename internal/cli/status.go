package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/doctor"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/walwatch"
	"github.com/runnel-cdc/runnel/internal/wire"
)

// statusResult is a pipeline at a glance: what the database knows, and what the
// daemon says when it can be asked.
type statusResult struct {
	Pipeline   string            `json:"pipeline"`
	Daemon     doctor.Daemon     `json:"daemon"`
	Slot       slotStatus        `json:"slot"`
	Progress   *progressStatus   `json:"progress"` // null before the first confirmation
	Partitions []partitionStatus `json:"partitions"`
	// Oldest is when the oldest transaction began that is not known as confirmed, by the progress
	// that was saved; null: there is none, or it is not known.
	Oldest *time.Time `json:"oldest_unconfirmed_at"`
	// Warnings are what is about to go wrong with the WAL, as the database tells.
	Warnings []pipeline.Warning `json:"warnings"`
}

type slotStatus struct {
	Name          string `json:"name"`
	Exists        bool   `json:"exists"`
	Recorded      bool   `json:"recorded"` // the pipeline has been started before
	Active        bool   `json:"active"`
	ActivePID     int32  `json:"active_pid"`
	WALStatus     string `json:"wal_status"`
	Invalidation  string `json:"invalidation_reason"` // "": it is not lost
	LagBytes      *int64 `json:"lag_bytes"`           // null: there is no slot
	RetainedBytes uint64 `json:"retained_bytes"`
	SafeBytes     *int64 `json:"safe_bytes"`       // may be written before the slot can be lost; null: no limit
	LimitBytes    *int64 `json:"limit_bytes"`      // of what is kept for a slot; null: none
	Inactive      int64  `json:"inactive_seconds"` // 0 before Postgres 17
}

type progressStatus struct {
	ConfirmedLSN string    `json:"confirmed_lsn"`
	UpdatedAt    time.Time `json:"updated_at"`
}

type partitionStatus struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Ordinal   int64  `json:"ordinal"`  // events in it so far
	Position  string `json:"position"` // of the last of them, as in its property; "" before the first
}

func (r statusResult) text(p *printer) {
	rows := [][]string{{"pipeline", r.Pipeline}}
	add := func(name, format string, args ...any) {
		rows = append(rows, []string{name, fmt.Sprintf(format, args...)})
	}
	d := r.Daemon.Status
	switch {
	case d != nil:
		add("daemon", "%s for %s, run %d%s; version %s, up for %s", d.State, doctor.FormatAge(d.Since), d.Run, againText(d), d.Version, doctor.FormatAge(d.Started))
	case r.Daemon.URL == "":
		add("daemon", "not asked (http is off)")
	default:
		add("daemon", "not found at %s: %s", r.Daemon.URL, r.Daemon.Error)
	}
	s := r.Slot
	switch {
	case !s.Exists && !s.Recorded:
		add("slot", "%s, not there yet", s.Name)
	case !s.Exists:
		add("slot", "%s is MISSING", s.Name)
	default:
		state := "nobody streams from it"
		switch {
		case s.Active:
			state = fmt.Sprintf("streamed by process %d", s.ActivePID)
		case s.Inactive > 0:
			state += " for " + doctor.FormatAge(time.Now().Add(-time.Duration(s.Inactive)*time.Second))
		}
		status := s.WALStatus
		if text := walwatch.StatusText(s.WALStatus); text != "" {
			status += " (" + text + ")"
		}
		add("slot", "%s, %s, WAL %s", s.Name, state, status)
		lag := "not known"
		if s.LagBytes != nil {
			lag = doctor.FormatBytes(*s.LagBytes) + " of WAL"
		}
		add("lag", "%s, %s kept on the server", lag, doctor.FormatBytes(int64(s.RetainedBytes)))
	}
	switch {
	case d != nil:
		add("waiting", "%s", waitingText(d))
	case r.Oldest != nil:
		add("waiting", "the oldest may have been committed %s ago", doctor.FormatAge(*r.Oldest))
	}
	if d != nil && d.Parked != nil {
		add("parked", "%s of %s, the first committed %s ago: see `runnel dlq list --pipeline`", doctor.Count(d.Parked.Events, "event"),
			doctor.Count(d.Parked.Aggregates, "aggregate"), doctor.FormatAge(d.Parked.Since))
	}
	if r.Progress != nil {
		add("confirmed", "%s, noted %s ago", r.Progress.ConfirmedLSN, doctor.FormatAge(r.Progress.UpdatedAt))
	}
	p.table(rows, func(_, column int, text string) string {
		if column == 0 {
			return p.paint(bold, text)
		}
		return clean(text)
	})
	if d != nil && d.Message != "" {
		p.line("")
		p.line("%s %s", p.paint(red, d.Code), clean(d.Message))
		p.remedy("", d.Remedy)
	}
	for _, w := range r.Warnings {
		if d == nil || d.Code != w.Code { // or it is told already
			p.line("")
			p.line("%s %s", p.paint(yellow, w.Code), clean(w.Message))
			p.remedy("", w.Remedy)
		}
	}
	if len(r.Partitions) == 0 {
		return
	}
	p.line("")
	table := [][]string{{"TOPIC", "PARTITION", "EVENTS", "POSITION"}}
	for _, x := range r.Partitions {
		last := clean(x.Position)
		if last == "" {
			last = "-"
		}
		table = append(table, []string{clean(x.Topic), strconv.Itoa(x.Partition), strconv.FormatInt(x.Ordinal, 10), last})
	}
	p.table(table, func(row, _ int, text string) string {
		if row == 0 {
			return p.paint(bold, text)
		}
		return text
	})
}

// againText says when a daemon that does not stream tries again.
func againText(d *pipeline.Status) string {
	if d.NextRun == nil {
		if d.State == pipeline.Halted {
			return ", tries again just now"
		}
		return ""
	}
	return ", tries again in " + doctor.FormatAge(time.Now().Add(-time.Until(*d.NextRun)))
}

// waitingText says what waits to be published, as far as the daemon knows.
func waitingText(d *pipeline.Status) string {
	oldest := 0.0
	if d.OldestSeconds != nil {
		oldest = *d.OldestSeconds
	}
	switch {
	case d.InFlightEvents == 0 && d.OldestSeconds == nil:
		return "not known until the daemon has read what was committed before"
	case d.InFlightEvents == 0 && oldest == 0:
		return "nothing"
	case d.InFlightEvents == 0:
		return fmt.Sprintf("how much is not known; the oldest may have been committed %.1f s ago", oldest)
	}
	text := doctor.Count(d.InFlightEvents, "event") + " read and not published yet"
	if d.NextRun != nil { // nothing is being read
		text = "at least " + doctor.Count(d.InFlightEvents, "event")
	}
	if d.OldestSeconds != nil {
		text += fmt.Sprintf("; the oldest was committed %.1f s ago", oldest)
	}
	return text
}

func statusSpec() *spec {
	return &spec{
		use:   "status",
		short: "Show the pipeline at a glance",
		long: `Shows the slot with its lag, what is confirmed, every partition with its last
position, and, when the daemon answers at its http address, its state, its last
error and when it tries again. Then come warnings: what is about to go wrong with the WAL that the server
keeps, what holds it back, and what to do. It exits with 0 whatever the state is;
3 when the database cannot be asked.

` + positionHelp,
		example: `  runnel status
  runnel status -o json | jq .result.slot.lag_bytes`,
		flags: addHTTPFlag,
		run: func(ctx context.Context, c *call) (any, error) {
			cfg, err := c.config("postgres.url")
			if err != nil {
				return nil, err
			}
			conn, err := c.deps.postgres(ctx, cfg, "status")
			if err != nil {
				return nil, err
			}
			defer wire.Close(conn)
			r := statusResult{Pipeline: cfg.Name, Partitions: []partitionStatus{}}
			if err := r.readDatabase(ctx, conn, cfg); err != nil {
				return nil, err
			}
			r.Daemon = doctor.AskDaemon(ctx, cfg)
			return r, nil
		},
	}
}

func (r *statusResult) readDatabase(ctx context.Context, conn *pgx.Conn, cfg *config.Config) error {
	st, err := walwatch.Read(ctx, conn, cfg.Capture.Slot)
	if err != nil {
		return err
	}
	slot := st.Slot
	r.Slot = slotStatus{
		Name: slot.Name, Exists: slot.Exists, Active: slot.Active, ActivePID: slot.ActivePID, WALStatus: slot.WALStatus,
		Invalidation: slot.Invalidation, RetainedBytes: slot.RetainedBytes(),
		SafeBytes: st.Safe, Inactive: int64(st.Inactive.Seconds()),
	}
	if lag, known := st.Lag(); known {
		r.Slot.LagBytes = &lag
	}
	if st.Limit >= 0 {
		r.Slot.LimitBytes = &st.Limit
	}
	r.Warnings = pipeline.Warnings(st.Warnings(nil))
	err = conn.QueryRow(ctx, `select exists (select from runnel.pipeline where name = $1)`, cfg.Name).Scan(&r.Slot.Recorded)
	if err != nil {
		return wire.QueryFault(err, "read the pipeline's record")
	}
	var progress progressStatus
	err = conn.QueryRow(ctx, `select confirmed_lsn::text, updated_at from runnel.progress where pipeline = $1`, cfg.Name).
		Scan(&progress.ConfirmedLSN, &progress.UpdatedAt)
	switch {
	case err == nil:
		r.Progress = &progress
	case !errors.Is(err, pgx.ErrNoRows):
		return wire.QueryFault(err, "read the progress")
	}
	oldest, known, err := capture.ReadOldest(ctx, conn, cfg.Name)
	if err != nil && !errors.Is(err, capture.ErrGrant) { // a role that may not look is not told
		return err
	}
	if known && !oldest.IsZero() {
		r.Oldest = &oldest
	}
	rows, err := conn.Query(ctx, `select topic, partition, ordinal, position from runnel.progress_partition
		where pipeline = $1 order by topic, partition`, cfg.Name)
	if err == nil {
		r.Partitions, err = pgx.AppendRows(r.Partitions, rows, pgx.RowToStructByPos[partitionStatus])
	}
	if err != nil {
		return wire.QueryFault(err, "read the progress of the partitions")
	}
	for i := range r.Partitions {
		x := &r.Partitions[i]
		if x.Position, err = stampOf(x.Position, x.Ordinal); err != nil {
			return fmt.Errorf("the recorded position of %s, partition %d: %w", x.Topic, x.Partition, err)
		}
	}
	return nil
}

// stampOf is the form in which people see a stored position, that of the
// message's property: with its ordinal. Ordinal 0 has none.
func stampOf(stored string, ordinal int64) (string, error) {
	if ordinal == 0 {
		return "", nil
	}
	p, err := position.Parse(stored)
	return position.Stamp{Position: p, Ordinal: uint64(ordinal)}.String(), err
}

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/doctor"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/wire"
)

// statusResult is a pipeline at a glance: what the database knows, and what the
// daemon says when it can be asked.
type statusResult struct {
	Pipeline   string            `json:"pipeline"`
	Daemon     daemonStatus      `json:"daemon"`
	Slot       slotStatus        `json:"slot"`
	Progress   *progressStatus   `json:"progress"` // null before the first confirmation
	Partitions []partitionStatus `json:"partitions"`
}

type daemonStatus struct {
	URL    string           `json:"url"` // "" when http is off
	Error  string           `json:"error,omitempty"`
	Status *pipeline.Status `json:"status"` // null when it did not answer
}

type slotStatus struct {
	Name          string `json:"name"`
	Exists        bool   `json:"exists"`
	Recorded      bool   `json:"recorded"` // the pipeline has been started before
	Active        bool   `json:"active"`
	ActivePID     int32  `json:"active_pid"`
	WALStatus     string `json:"wal_status"`
	LagBytes      uint64 `json:"lag_bytes"`
	RetainedBytes uint64 `json:"retained_bytes"`
}

type progressStatus struct {
	ConfirmedLSN string    `json:"confirmed_lsn"`
	UpdatedAt    time.Time `json:"updated_at"`
}

type partitionStatus struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Ordinal   int64  `json:"ordinal"` // events in it so far
	Position  string `json:"position"`
}

func (r statusResult) text(p *printer) {
	rows := [][]string{{"pipeline", r.Pipeline}}
	add := func(name, format string, args ...any) {
		rows = append(rows, []string{name, fmt.Sprintf(format, args...)})
	}
	d := r.Daemon.Status
	switch {
	case d != nil:
		add("daemon", "%s for %s, run %d", d.State, age(d.Since), d.Run)
	case r.Daemon.URL == "":
		add("daemon", "not asked (http is off)")
	default:
		add("daemon", "no answer at %s (%s)", r.Daemon.URL, r.Daemon.Error)
	}
	s := r.Slot
	switch {
	case !s.Exists && !s.Recorded:
		add("slot", "%s, not there yet", s.Name)
	case !s.Exists:
		add("slot", "%s is MISSING", s.Name)
	default:
		state := "nobody streams from it"
		if s.Active {
			state = fmt.Sprintf("streamed by process %d", s.ActivePID)
		}
		add("slot", "%s, %s, WAL %s", s.Name, state, s.WALStatus)
		add("lag", "%s of WAL, %s kept on the server", doctor.FormatBytes(int64(s.LagBytes)), doctor.FormatBytes(int64(s.RetainedBytes)))
	}
	if d != nil {
		add("oldest event", "%.1f s unpublished; %d events in flight", d.OldestSeconds, d.InFlightEvents)
	}
	if r.Progress != nil {
		add("confirmed", "%s, noted %s ago", r.Progress.ConfirmedLSN, age(r.Progress.UpdatedAt))
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
	if len(r.Partitions) == 0 {
		return
	}
	p.line("")
	table := [][]string{{"TOPIC", "PARTITION", "EVENTS", "POSITION"}}
	for _, x := range r.Partitions {
		table = append(table, []string{clean(x.Topic), strconv.Itoa(x.Partition), strconv.FormatInt(x.Ordinal, 10), clean(x.Position)})
	}
	p.table(table, func(row, _ int, text string) string {
		if row == 0 {
			return p.paint(bold, text)
		}
		return text
	})
}

func age(t time.Time) string {
	d := max(time.Since(t), 0)
	if d < time.Minute {
		return fmt.Sprintf("%.0fs", d.Seconds())
	}
	return config.FormatDuration(d.Truncate(time.Second))
}

func statusSpec() *spec {
	return &spec{
		use:   "status",
		short: "Show the pipeline at a glance",
		long: `Shows the slot with its lag, what is confirmed, every partition with its last
position, and, when the daemon answers at its http address, its state and last
error. It exits with 0 whatever the state is; 3 when the database cannot be
asked.`,
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
			r.Daemon = askDaemon(ctx, c.deps.http, cfg)
			return r, nil
		},
	}
}

func (r *statusResult) readDatabase(ctx context.Context, conn *pgx.Conn, cfg *config.Config) error {
	slot, err := capture.ReadSlot(ctx, conn, cfg.Capture.Slot)
	if err != nil {
		return err
	}
	r.Slot = slotStatus{
		Name: slot.Name, Exists: slot.Exists, Active: slot.Active, ActivePID: slot.ActivePID, WALStatus: slot.WALStatus,
		LagBytes: slot.LagBytes(), RetainedBytes: slot.RetainedBytes(),
	}
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
	rows, err := conn.Query(ctx, `select topic, partition, ordinal, position from runnel.progress_partition
		where pipeline = $1 order by topic, partition`, cfg.Name)
	if err == nil {
		r.Partitions, err = pgx.AppendRows(r.Partitions, rows, pgx.RowToStructByPos[partitionStatus])
	}
	return wire.QueryFault(err, "read the progress of the partitions")
}

// maxStatus bounds a daemon's answer, in bytes.
const maxStatus = 4 << 20

// askDaemon asks the daemon that should listen at the configured address.
func askDaemon(ctx context.Context, client *http.Client, cfg *config.Config) daemonStatus {
	address := httpAddress(cfg)
	if address == "" {
		return daemonStatus{}
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return daemonStatus{Error: err.Error()}
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	d := daemonStatus{URL: "http://" + net.JoinHostPort(host, port)}
	st, err := fetchStatus(ctx, client, d.URL+"/status")
	switch {
	case err != nil:
		d.Error = err.Error()
	case st.Pipeline != cfg.Name:
		d.Error = fmt.Sprintf("the pipeline that answers is %q", st.Pipeline)
	default:
		d.Status = st
	}
	return d
}

func fetchStatus(ctx context.Context, client *http.Client, url string) (*pipeline.Status, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			return nil, op.Err // without the URL, which is said already
		}
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("HTTP status %d", response.StatusCode)
	}
	var st pipeline.Status
	if err := json.NewDecoder(io.LimitReader(response.Body, maxStatus)).Decode(&st); err != nil {
		return nil, errors.New("what answers is not a runnel daemon")
	}
	return &st, nil
}

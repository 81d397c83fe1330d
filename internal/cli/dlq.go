package cli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/doctor"
	"github.com/runnel-cdc/runnel/internal/tail"
	"github.com/runnel-cdc/runnel/schemas"
)

// dlqFlags say which parked events are meant.
type dlqFlags struct {
	projection, eventType, key, code string
	ids                              []string
	limit, version                   int
	all, dryRun, yes                 bool
	discards                         bool // not a flag: the command removes events
	pipeline, exclusive              bool // pipeline: what the daemon parked, not a projection
	wait                             time.Duration
}

func (f *dlqFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	f.addWhose(cmd)
	flags.StringVar(&f.eventType, "type", "", "events of this `type`")
	flags.StringVar(&f.key, "key", "", "events of this `aggregate`")
	flags.StringVar(&f.code, "error", "", "events whose last error has this `code`")
	f.addVersion(cmd)
}

// addWhose adds the flags that say whose parked events are meant.
func (f *dlqFlags) addWhose(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.projection, "projection", "", "what the projection of this `name` parked")
	cmd.Flags().BoolVar(&f.pipeline, "pipeline", false, "what the pipeline parked")
}

func (f *dlqFlags) addVersion(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.version, "version", 0, "only what this `version` of the projection parked")
}

// addChange adds the flags of commands that change something.
func (f *dlqFlags) addChange(cmd *cobra.Command) {
	f.add(cmd)
	cmd.Flags().StringSliceVar(&f.ids, "id", nil, "the event with this `id` (repeatable)")
	cmd.Flags().BoolVar(&f.all, "all", false, "all parked events")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "change nothing")
	cmd.Flags().DurationVar(&f.wait, "wait", time.Minute, "of the pipeline's: how `long` to wait for the daemon")
}

// filter returns what the flags other than --id select.
func (f *dlqFlags) filter() consumers.ParkedFilter {
	return consumers.ParkedFilter{Type: f.eventType, Key: f.key, Code: f.code, Version: f.version}
}

// filters returns what the flags select: one filter for each id, or one for all without.
func (f *dlqFlags) filters() ([]consumers.ParkedFilter, error) {
	named, err := f.named()
	if err != nil || len(named) == 0 {
		return []consumers.ParkedFilter{f.filter()}, err
	}
	filters := make([]consumers.ParkedFilter, len(named))
	for i, id := range named {
		filters[i] = f.filter()
		filters[i].ID = id
	}
	return filters, nil
}

// named returns the ids that were given, each once.
func (f *dlqFlags) named() ([]uuid.UUID, error) {
	var all []uuid.UUID
	for _, text := range f.ids {
		id, err := uuid.Parse(text)
		if err != nil || id == uuid.Nil { // which would select every event
			return nil, ErrUsage.New("%.100q is not an event's id", text).Fix("`%s` shows the ids.", f.listCommand())
		}
		if !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	return all, nil
}

// listCommand is the command that shows what is parked.
func (f *dlqFlags) listCommand() string {
	if f.pipeline {
		return "runnel dlq list --pipeline"
	}
	return "runnel dlq list --projection " + f.projection
}

// said requires of a command that changes something that it is told what.
func (f *dlqFlags) said() error {
	if (len(f.ids) == 0 && f.key == "" && f.eventType == "" && f.code == "") != f.all {
		return errWhich()
	}
	return nil
}

// notParked is the error for events of which none is parked.
func (f *dlqFlags) notParked(ids []string) error {
	e := ErrNotParked.New("%s not found among what is parked: %s", doctor.Count(len(ids), "event"), strings.Join(ids, ", "))
	return e.Fix("`%s` shows what is parked; what was retried or discarded is not any more.", f.listCommand())
}

func errWhich() error {
	return ErrUsage.New("which parked events are meant is not said, or said twice").
		Fix("Give --id, --key, --type or --error, or else --all.")
}

// parkedResult is one parked event.
type parkedResult struct {
	ID            string            `json:"id"`
	Type          string            `json:"type"`
	Key           string            `json:"key"`
	Topic         string            `json:"topic"`
	Partition     int               `json:"partition"`
	Position      string            `json:"position"` // as in its property
	Version       int               `json:"version"`  // of the projection
	State         string            `json:"state"`
	Tries         int               `json:"tries"`
	Code          string            `json:"error_code"`
	Error         string            `json:"error"`
	ParkedAt      time.Time         `json:"parked_at"`
	NextTry       *time.Time        `json:"next_try"`
	OccurredAt    time.Time         `json:"occurred_at"`
	Headers       map[string]string `json:"headers"`
	SchemaVersion int64             `json:"schema_version"`
	Payload       string            `json:"payload"` // its bytes, in base64
}

func parkedResultOf(e consumers.ParkedEvent) (parkedResult, error) {
	m := e.Message
	at, err := stampOf(m.Position.String(), int64(m.Ordinal))
	r := parkedResult{ID: m.ID.String(), Type: m.Type, Key: m.AggregateID, Topic: m.Topic, Partition: m.Partition, Position: at, Version: e.Version,
		State: e.State, Tries: e.Tries, Code: e.Code, Error: e.Error, ParkedAt: e.ParkedAt, OccurredAt: m.OccurredAt, Headers: m.Headers,
		SchemaVersion: e.SchemaVersion, Payload: base64.StdEncoding.EncodeToString(e.Payload)}
	if !e.NextTry.IsZero() {
		r.NextTry = &e.NextTry
	}
	return r, err
}

type dlqListResult struct {
	Events []parkedResult `json:"events"`
	More   bool           `json:"more"` // there are more than --limit
}

func (r dlqListResult) text(p *printer) {
	if len(r.Events) == 0 {
		p.line("nothing is parked")
		return
	}
	table := [][]string{{"ID", "VERSION", "TYPE", "KEY", "STATE", "TRIES", "PARKED", "ERROR"}}
	for _, e := range r.Events {
		cause := e.Error
		if e.Code != "" {
			cause = e.Code
		}
		table = append(table, []string{e.ID, strconv.Itoa(e.Version), clean(e.Type), clean(e.Key), e.State, strconv.Itoa(e.Tries), doctor.FormatAge(e.ParkedAt) + " ago", shorten(clean(cause), 60)})
	}
	p.table(table, func(row, _ int, text string) string {
		if row == 0 {
			return p.paint(bold, text)
		}
		return text
	})
	if r.More {
		p.line("and more; --limit shows them")
	}
}

func shorten(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

type dlqShowResult struct {
	parkedResult
	Event     json.RawMessage `json:"event"`               // the payload, decoded; null when it can't be
	Undecoded string          `json:"undecoded,omitempty"` // why
}

// decode decodes the payload with the schema that it was written with, if the
// broker says which that is.
func (r *dlqShowResult) decode(ctx context.Context, c *call, e *consumers.ParkedEvent) {
	ctx, cancel := context.WithTimeout(ctx, decodeLimit)
	defer cancel()
	err := func() error {
		cfg, err := c.config("postgres.url", "pulsar.url", "pulsar.admin_url")
		if err != nil {
			return err
		}
		client, err := c.deps.dial(ctx, cfg)
		if err != nil {
			return err
		}
		defer client.Close()
		decoder := tail.NewDecoder(schemas.NewRegistry(client.AdminURL(), client.HTTP()))
		r.Event, err = decoder.Body(ctx, e.Message.Topic, e.SchemaVersion, e.Payload)
		return err
	}()
	if err != nil {
		r.Event, r.Undecoded = nil, err.Error()
	}
}

// decodeLimit bounds the asking for a schema.
const decodeLimit = 10 * time.Second

func (r dlqShowResult) text(p *printer) {
	rows := [][]string{{"event", r.ID}, {"type", r.Type}, {"key", r.Key}, {"topic", fmt.Sprintf("%s, partition %d", r.Topic, r.Partition)},
		{"position", r.Position}, {"parked by", fmt.Sprintf("version %d", r.Version)}, {"occurred", r.OccurredAt.UTC().Format(time.RFC3339Nano)}, {"state", r.State}, {"tries", strconv.Itoa(r.Tries)},
		{"parked", r.ParkedAt.UTC().Format(time.RFC3339)}}
	if r.NextTry != nil {
		rows = append(rows, []string{"next try", r.NextTry.UTC().Format(time.RFC3339)})
	}
	if r.Error != "" {
		rows = append(rows, []string{"error", strings.TrimSpace(r.Code + " " + r.Error)})
	}
	rows = append(rows, []string{"schema", fmt.Sprintf("version %d", r.SchemaVersion)})
	if r.Event != nil {
		rows = append(rows, []string{"event", string(r.Event)})
	} else {
		rows = append(rows, []string{"payload", r.Payload}, []string{"undecoded", r.Undecoded})
	}
	p.table(rows, func(_, column int, text string) string {
		if column == 0 {
			return p.paint(bold, text)
		}
		return clean(text)
	})
}

func dlqSpec() *spec {
	return &spec{
		use: "dlq", short: "See, retry and discard events that are parked",
		long: `An event that cannot be published is parked by the pipeline, where capture.poison
is park: in its dead-letter topic, with the later events of its aggregate behind it
(--pipeline).

An event that a projection's handler refuses for longer than its schedule of
retries is parked by the projection: a row beside the copy, with the later events of
its key behind it (--projection NAME). For these the commands work on the
projection's own database (--postgres), as a role that may change schema
runnel_projections.`,
		example: `  runnel dlq list --pipeline
  runnel dlq list --projection fulfilment --postgres postgres://shop@localhost/fulfilment`,
		sub: []*spec{dlqListSpec(), dlqShowSpec(), dlqRetrySpec(), dlqDiscardSpec()},
	}
}

// withParked is withProjection for parked events.
func withParked(ctx context.Context, c *call, projection string, do func(*pgx.Conn) (any, error)) (any, error) {
	return withProjection(ctx, c, projection, "dlq", "look at the parked events", do)
}

func dlqListSpec() *spec {
	var f dlqFlags
	return &spec{
		use: "list", short: "List parked events",
		long: `With --pipeline, lists what the pipeline parked in the order of its commits; what
has the error EVENT_BEHIND_PARKED waits for an earlier event of its aggregate.

With --projection, lists what a projection parked in the order of the partitions. One that
is retrying is tried again by itself; one that is parked waits for a person; one
that is behind waits for an earlier event of its key.`,
		example: `  runnel dlq list --pipeline
  runnel dlq list --projection fulfilment
  runnel dlq list --projection fulfilment --error EVENT_UNDECODABLE -o json`,
		flags: func(cmd *cobra.Command) {
			f.add(cmd)
			cmd.Flags().IntVar(&f.limit, "limit", 100, "`number` of events at most")
		},
		run: func(ctx context.Context, c *call) (any, error) {
			if err := f.whose(); err != nil {
				return nil, err
			}
			if f.limit < 1 {
				return nil, ErrUsage.New("--limit is %d", f.limit).Fix("Give a number from 1.")
			}
			if f.pipeline {
				return listLetters(ctx, c, &f)
			}
			return withParked(ctx, c, f.projection, func(conn *pgx.Conn) (any, error) {
				all, err := consumers.Parked(ctx, conn, f.projection, f.filter(), f.limit+1)
				if err != nil {
					return nil, err
				}
				r := dlqListResult{Events: []parkedResult{}, More: len(all) > f.limit}
				for _, e := range all[:min(len(all), f.limit)] {
					one, err := parkedResultOf(e)
					if err != nil {
						return nil, err
					}
					r.Events = append(r.Events, one)
				}
				return r, nil
			})
		},
	}
}

func dlqShowSpec() *spec {
	var f dlqFlags
	return &spec{
		use: "show EVENT-ID", short: "Show one parked event",
		long: `Shows a parked event with its error and headers: one that a projection parked decoded
with the schema that the broker's registry has of it, or its bytes without the
broker; one that the pipeline parked as it was written.`,
		example: `  runnel dlq show 0197a3c2-5b1e-7c33-9f6a-3f2f6c1d8e10 --pipeline
  runnel dlq show 0197a3c2-5b1e-7c33-9f6a-3f2f6c1d8e10 --projection fulfilment -o json`,
		args: oneArg("EVENT-ID"),
		flags: func(cmd *cobra.Command) {
			f.addWhose(cmd)
			f.addVersion(cmd)
		},
		run: func(ctx context.Context, c *call) (any, error) {
			f.ids = c.args
			if err := f.whose(); err != nil {
				return nil, err
			}
			if f.pipeline {
				return showLetter(ctx, c, &f)
			}
			filters, err := f.filters()
			if err != nil {
				return nil, err
			}
			return withParked(ctx, c, f.projection, func(conn *pgx.Conn) (any, error) {
				all, err := consumers.Parked(ctx, conn, f.projection, filters[0], 1)
				if err != nil {
					return nil, err
				}
				if len(all) == 0 {
					return nil, f.notParked(f.ids)
				}
				one, err := parkedResultOf(all[0])
				if err != nil {
					return nil, err
				}
				r := dlqShowResult{parkedResult: one}
				r.decode(ctx, c, &all[0])
				return r, nil
			})
		},
	}
}

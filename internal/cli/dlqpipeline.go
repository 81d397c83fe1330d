package cli

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/deadletter"
	"github.com/runnel-cdc/runnel/internal/deadletter/letterbox"
	"github.com/runnel-cdc/runnel/internal/doctor"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/router"
)

// letterResult is an event that the pipeline parked.
type letterResult struct {
	ID            string          `json:"id"`
	Type          string          `json:"type"`
	AggregateType string          `json:"aggregate_type"`
	Key           string          `json:"key"`
	Position      string          `json:"position"`
	FirstPosition string          `json:"first_position"` // of one that was retried: where it was parked first
	Code          string          `json:"error_code"`
	Error         string          `json:"error"`
	CommittedAt   time.Time       `json:"committed_at"`
	OccurredAt    time.Time       `json:"occurred_at"`
	Headers       json.RawMessage `json:"headers"`
	Encoding      string          `json:"encoding"`
	Fingerprint   string          `json:"fingerprint,omitempty"`
	Payload       string          `json:"payload"` // its bytes, in base64
}

func letterResultOf(l *deadletter.Letter) letterResult {
	r := letterResult{ID: uuid.UUID(l.ID).String(), Type: l.EventType, AggregateType: l.Key.AggregateType, Key: l.Key.AggregateID,
		Position: l.Position.String(), FirstPosition: l.Rank.String(), Code: l.Code, Error: l.Reason,
		CommittedAt: time.UnixMicro(l.Committed), OccurredAt: time.UnixMicro(l.OccurredAt),
		Headers: json.RawMessage("{}"), Encoding: "json", Payload: base64.StdEncoding.EncodeToString(l.Payload)}
	if json.Valid(l.Headers) {
		r.Headers = l.Headers
	}
	if router.Encoding(l.Encoding) == router.Avro {
		r.Encoding, r.Fingerprint = "avro", hex.EncodeToString(l.Fingerprint[:])
	}
	return r
}

type letterListResult struct {
	Events []letterResult `json:"events"`
	More   bool           `json:"more"` // there are more than --limit
}

func (r letterListResult) text(p *printer) {
	if len(r.Events) == 0 {
		p.line("nothing is parked")
		return
	}
	table := [][]string{{"ID", "AGGREGATE", "KEY", "TYPE", "COMMITTED", "ERROR"}}
	for _, e := range r.Events {
		table = append(table, []string{e.ID, clean(e.AggregateType), clean(e.Key), clean(e.Type), doctor.FormatAge(e.CommittedAt) + " ago", clean(e.Code)})
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

type letterShowResult struct{ letterResult }

func (r letterShowResult) text(p *printer) {
	rows := [][]string{{"event", r.ID}, {"type", r.Type}, {"aggregate", r.AggregateType}, {"key", r.Key}, {"position", r.Position}}
	if r.FirstPosition != r.Position {
		rows = append(rows, []string{"parked first", r.FirstPosition})
	}
	rows = append(rows, []string{"committed", r.CommittedAt.UTC().Format(time.RFC3339)}, []string{"occurred", r.OccurredAt.UTC().Format(time.RFC3339Nano)},
		[]string{"error", strings.TrimSpace(r.Code + " " + r.Error)}, []string{"headers", string(r.Headers)}, []string{"encoding", strings.TrimSpace(r.Encoding + " " + r.Fingerprint)})
	payload := r.Payload
	if raw, err := base64.StdEncoding.DecodeString(r.Payload); err == nil && r.Encoding == "json" && utf8.Valid(raw) {
		payload = string(raw)
	}
	rows = append(rows, []string{"payload", shorten(payload, 4000)})
	p.table(rows, func(_, column int, text string) string {
		if column == 0 {
			return p.paint(bold, text)
		}
		return clean(text)
	})
}

// whose checks that it is said whose parked events are meant.
func (f *dlqFlags) whose() error {
	switch {
	case f.pipeline && f.projection != "":
		return ErrUsage.New("--pipeline and --projection are both given").Fix("Give one of them.")
	case f.pipeline && f.version != 0:
		return ErrUsage.New("--version is a projection's").Fix("Leave it out.")
	case !f.pipeline && f.projection == "":
		return ErrUsage.New("whose parked events are meant is not said").
			Fix("Write `--pipeline` for what the daemon could not publish, `--projection NAME` for what a projection could not apply.")
	}
	return nil
}

// matches returns what the flags select of the pipeline's parked events.
func (f *dlqFlags) matches() (func(*deadletter.Letter) bool, error) {
	named, err := f.named()
	if err != nil {
		return nil, err
	}
	return func(l *deadletter.Letter) bool {
		return (len(named) == 0 || slices.Contains(named, l.ID)) && (f.eventType == "" || l.EventType == f.eventType) &&
			(f.key == "" || l.Key.AggregateID == f.key) && (f.code == "" || l.Code == f.code)
	}, nil
}

// withLetters runs do with what the pipeline has parked and the flags select.
func withLetters(ctx context.Context, c *call, f *dlqFlags, do func(*config.Config, letterbox.Broker, []*deadletter.Letter) (any, error)) (any, error) {
	match, err := f.matches()
	if err != nil {
		return nil, err
	}
	cfg, err := c.config("name", "pulsar.url", "pulsar.admin_url")
	if err != nil {
		return nil, err
	}
	client, err := c.deps.dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	all, err := pipeline.ParkedEvents(ctx, client, cfg.Topics.Namespace, cfg.Name)
	if err != nil {
		return nil, err
	}
	var some []*deadletter.Letter
	for _, l := range all {
		if match(l) {
			some = append(some, l)
		}
	}
	return do(cfg, client, some)
}

func listLetters(ctx context.Context, c *call, f *dlqFlags) (any, error) {
	return withLetters(ctx, c, f, func(_ *config.Config, _ letterbox.Broker, all []*deadletter.Letter) (any, error) {
		r := letterListResult{Events: []letterResult{}, More: len(all) > f.limit}
		for _, l := range all[:min(len(all), f.limit)] {
			r.Events = append(r.Events, letterResultOf(l))
		}
		return r, nil
	})
}

func showLetter(ctx context.Context, c *call, f *dlqFlags) (any, error) {
	return withLetters(ctx, c, f, func(_ *config.Config, _ letterbox.Broker, all []*deadletter.Letter) (any, error) {
		if len(all) == 0 {
			return nil, f.notParked(f.ids)
		}
		return letterShowResult{letterResultOf(all[0])}, nil
	})
}

type letterChangeResult struct {
	Matched    int            `json:"matched"`
	NotFound   []string       `json:"not_found"` // ids that were given, of events that are not parked
	DryRun     bool           `json:"dry_run"`
	Released   int            `json:"released"`
	Aggregates int            `json:"aggregates"`
	Again      []letterResult `json:"parked_again"` // could not be published this time either
	Left       int            `json:"left"`         // of these aggregates, that are parked still
	verb       string
	discards   bool
}

func (r letterChangeResult) text(p *printer) {
	switch {
	case r.DryRun:
		p.line("%s would be %s%s; nothing was changed", doctor.Count(r.Matched, "event"), r.verb, withYes(r.verb))
		tellNotFound(p, r.NotFound)
		return
	case r.Released == 0:
		p.line("nothing that is parked matches")
		return
	case r.discards:
		p.line("%s discarded", doctor.Count(r.Released, "event"))
	default:
		p.line("%s of %s retried", doctor.Count(r.Released, "event"), doctor.Count(r.Aggregates, "aggregate"))
	}
	tellNotFound(p, r.NotFound)
	for _, e := range r.Again {
		if e.Code != router.ErrBehind.ID {
			p.line("%s of %s %s is parked again: %s", e.ID, clean(e.AggregateType), clean(e.Key), clean(e.Error))
		}
	}
	switch {
	case r.Left == 0:
	case r.discards:
		p.line("%s of %s are parked still: retry them with `runnel dlq retry --pipeline`", doctor.Count(r.Left, "event"), doctor.Count(r.Aggregates, "aggregate"))
	case len(r.Again) > 0:
		p.line("%s are parked still", doctor.Count(r.Left, "event"))
	default:
		p.line("%s came meanwhile, and are parked: retry again, or with --exclusive, which holds the writers for a moment", doctor.Count(r.Left, "event"))
	}
}

// changeLetters is retry and discard of what the pipeline parked.
func changeLetters(ctx context.Context, c *call, f *dlqFlags, verb string) (any, error) {
	if err := f.said(); err != nil {
		return nil, err
	}
	return withLetters(ctx, c, f, func(cfg *config.Config, client letterbox.Broker, all []*deadletter.Letter) (any, error) {
		named, err := f.named()
		if err != nil {
			return nil, err
		}
		r := letterChangeResult{Matched: len(all), DryRun: f.dryRun, Again: []letterResult{}, verb: verb, discards: f.discards}
		found := make(map[uuid.UUID]bool)
		for _, l := range all {
			found[l.ID] = true
		}
		if r.NotFound = notAmong(named, found); len(named) > 0 && len(all) == 0 {
			return nil, f.notParked(r.NotFound)
		}
		if f.dryRun || len(all) == 0 {
			return r, nil
		}
		if _, err := c.config("postgres.url"); err != nil {
			return nil, err
		}
		conn, err := c.deps.postgres(ctx, cfg, "dlq")
		if err != nil {
			return nil, err
		}
		defer wire.Close(conn)
		match, err := f.matches()
		if err != nil {
			return nil, err
		}
		clear(found) // it is looked again, and less may be there
		done, err := pipeline.Release{
			Namespace: cfg.Topics.Namespace, Pipeline: cfg.Name, Slot: cfg.Capture.Slot, Client: client, DB: conn,
			Discard: f.discards, Wait: f.wait, Exclusive: f.exclusive,
			Match: func(l *deadletter.Letter) bool {
				matches := match(l)
				found[l.ID] = found[l.ID] || matches
				return matches
			},
		}.Run(ctx)
		if err != nil && done.Events == 0 {
			return nil, err // nothing was written
		}
		if r.NotFound = notAmong(named, found); len(named) > 0 && done.Events == 0 {
			return nil, f.notParked(r.NotFound)
		}
		r.Released, r.Aggregates, r.Left = done.Events, done.Aggregates, done.Left
		for _, l := range done.Again {
			r.Again = append(r.Again, letterResultOf(l))
		}
		return r, err
	})
}

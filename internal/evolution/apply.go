package evolution

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// lockSQL serialises those who apply, in the source database: the registry would let two
// compose a topic's next schema from the same last one, of which the second lacks what
// the first has added. (1 and 3 are the outbox's.)
const lockSQL = "select pg_catalog.pg_advisory_lock(1381322316, 4)"

// Lock takes the lock of those who apply until the session ends; false when another has
// kept it for wait, in whole milliseconds. It may have been stopped amid its work.
func Lock(ctx context.Context, db *pgx.Conn, wait time.Duration) (bool, error) {
	_, err := db.Exec(ctx, fmt.Sprintf("set lock_timeout = %d", wait.Milliseconds()))
	if err == nil {
		_, err = db.Exec(ctx, lockSQL)
	}
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "55P03" {
		return false, nil
	}
	if err == nil {
		_, err = db.Exec(ctx, "reset lock_timeout")
	}
	if err != nil {
		return false, fmt.Errorf("wait for others that apply schemas: %w", err)
	}
	return true, nil
}

// Applier carries steps out. Its holder has the Lock.
type Applier struct {
	Cluster Cluster
	DB      *pgx.Conn // of the source database; needed for rows of runnel.event_type
	Target  Target
	// Done, if any, is told of each step that is done.
	Done func(Step)
}

// Apply carries out the steps of a plan, in order. Each is atomic and checks that what
// it starts from is as planned, so that a plan that was cut off can be made again of the
// state it has left. It ends with the first error; ErrStale when somebody else changed
// what a step is about.
func (a *Applier) Apply(ctx context.Context, steps []Step) error {
	for _, s := range steps {
		if err := a.step(ctx, &s); err != nil {
			return err
		}
		if a.Done != nil {
			a.Done(s)
		}
	}
	return nil
}

// step carries one out, and notes in it what came of it otherwise than planned.
func (a *Applier) step(ctx context.Context, s *Step) error {
	switch s.Kind {
	case SetPolicy:
		return a.Cluster.SetNamespacePolicy(ctx, s.Object, s.Policy, a.Target.Policy)
	case CreateTopic, KeepTopic:
		_, err := a.Cluster.EnsureTopic(ctx, s.Object, s.Partitions, a.retention(s.Object))
		if errors.Is(err, broker.ErrPartitionCount) {
			return ErrStale.Wrap(err, "somebody else created the topic").At("%s", s.Object)
		}
		return err
	case Register:
		return a.register(ctx, s)
	case RegisterTypes, WithdrawTypes:
		return a.types(ctx, *s)
	}
	return fmt.Errorf("evolution: a step of kind %q", s.Kind)
}

// retention is for ever for the pipeline's own topics: see observeRetention. nil: as the
// namespace has it.
func (a *Applier) retention(full string) *broker.Retention {
	_, own := a.Target.own(strings.TrimPrefix(full, wire.TopicName(a.Target.Namespace, "")))
	if !own || !a.Target.trims() {
		return nil
	}
	return &broker.Retention{}
}

func (a *Applier) register(ctx context.Context, s *Step) error {
	registry := schemas.NewRegistry(a.Cluster.AdminURL(), a.Cluster.HTTP())
	versions, err := registry.Versions(ctx, s.Object)
	if err != nil {
		return err
	}
	have := noSchema
	if n := len(versions); n > 0 {
		have = fmt.Sprintf("version %d", versions[n-1].Version)
	}
	if have != s.From {
		return ErrStale.New("the topic's schema is at %s, not at %s", have, s.From).At("%s", s.Object)
	}
	t, err := schemas.ParseTopicSchema(s.Schema, -1)
	if err != nil {
		return err
	}
	version, err := registry.Register(ctx, s.Object, t)
	if err != nil {
		return fmt.Errorf("register the schema of %s: %w", s.Object, err)
	}
	switch {
	case version == s.Version:
	case s.From == noSchema: // a history was deleted, and numbers go on where they were
		s.To, s.Version = fmt.Sprintf("version %d", version), version
	default:
		// Nothing is lost: each version encodes the events that it holds.
		return ErrStale.New("the schema became version %d, not %d: somebody else registered one at the same time", version, s.Version).At("%s", s.Object)
	}
	return nil
}

func (a *Applier) types(ctx context.Context, s Step) error {
	if a.DB == nil {
		return errors.New("evolution: rows of the source database without a connection to it")
	}
	names, aggregates, fingerprints := columns(s.Types)
	if s.Kind == WithdrawTypes {
		return outbox.WithdrawEventTypes(ctx, a.DB, slices.Compact(names)...)
	}
	if _, err := a.DB.Exec(ctx, "select runnel.register_event_types($1, $2, $3)", names, aggregates, fingerprints); err != nil {
		return fmt.Errorf("register event types: %w", err)
	}
	return nil
}

// columns takes rows apart.
func columns(types []Type) (names, aggregates []string, fingerprints [][]byte) {
	for _, t := range types {
		fp, _ := hex.DecodeString(t.Fingerprint) // Make wrote it
		names, aggregates, fingerprints = append(names, t.Name), append(aggregates, t.AggregateType), append(fingerprints, fp)
	}
	return names, aggregates, fingerprints
}

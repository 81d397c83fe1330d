package consumers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/token"
)

// seen is what one snapshot of the database says of an event.
type seen struct {
	version int       // of the projection: the live one
	handled bool      // there is a handler for its type, or it is not known that there is none
	anyType bool      // which types are handled is not known
	passed  bool      // its id is among those passed
	aside   string    // its state in table parked; empty: it is not there
	keeps   bool      // ids are kept
	oldest  time.Time // events from before may have been passed and forgotten
	places  []place   // where its partition stands, in each topic
}

// place is a partition of the event's key.
type place struct {
	topic     string
	partition int      // -1: the topic's number of partitions is not known yet
	at        Position // zero: no event passed
}

// seenSQL gives a row for each event and topic, all of one snapshot. Every waiter
// asks it many times a second. What hides the arrays in subqueries spares planning
// it each time: Postgres would take a plan for any arrays to be the dearer one.
// EXISTS in place of the first subquery could be planned as a hash of all ids.
const seenSQL = `
with live as (` + liveSQL + `)
select live.version, e.n::int, coalesce(e.type = any (w.event_types), true), w.event_types is null,
	coalesce((select true from runnel_projections.passed d where d.projection = $1 and d.version = live.version and d.event_id = e.id), false),
	coalesce((select min(p.state) from runnel_projections.parked p where p.event_id = e.id and p.projection = $1 and p.version = live.version), ''),
	extract(epoch from greatest(statement_timestamp() - w.kept, w.since))::float8, w.kept is not null,
	coalesce(t.topic, ''), coalesce(e.hash % t.partitions, -1), coalesce(at.position, '')
from live
cross join unnest((select $2::uuid[]), (select $3::int[]), (select $4::text[])) with ordinality e(id, hash, type, n)
left join runnel_projections.waiting w on w.projection = $1 and w.version = live.version
left join runnel_projections.topic t on t.projection = $1 and t.version = live.version
left join runnel_projections.position at on at.projection = $1 and at.version = live.version
	and at.topic = t.topic and at.partition = e.hash % t.partitions`

// readSeen asks the database about events. Without a projection of that name there
// is nothing.
func readSeen(ctx context.Context, db Querier, projection string, events []token.Event) ([]seen, error) {
	ids, hashes, types := make([]string, len(events)), make([]int32, len(events)), make([]string, len(events))
	for i, e := range events {
		ids[i], hashes[i], types[i] = uuid.UUID(e.ID).String(), int32(e.KeyHash), e.Type
	}
	rows, err := db.Query(ctx, seenSQL, projection, ids, hashes, types)
	if err != nil {
		return nil, missingTables(ctx, db, projection, err)
	}
	all := make([]seen, len(events))
	var s seen
	var n int
	var oldest *float64
	var topic, at string
	var partition int
	_, err = pgx.ForEachRow(rows, []any{&s.version, &n, &s.handled, &s.anyType, &s.passed, &s.aside, &oldest, &s.keeps, &topic, &partition, &at}, func() error {
		if all[n-1].version == 0 {
			all[n-1] = s
			if s.keeps {
				all[n-1].oldest = time.UnixMicro(int64(*oldest * 1e6))
			}
		}
		if topic == "" {
			return nil
		}
		p := place{topic: topic, partition: partition}
		if at != "" {
			var err error
			if p.at, err = position.Parse(at); err != nil {
				return err
			}
		}
		all[n-1].places = append(all[n-1].places, p)
		return nil
	})
	if err != nil {
		return nil, missingTables(ctx, db, projection, err)
	}
	if n == 0 { // no row
		return nil, nil
	}
	return all, nil
}

// missingTables explains an error by tables that are not there: no projection
// ran in this database, or none of a release that offers waiting.
func missingTables(ctx context.Context, db Querier, projection string, err error) error {
	if !isMissing(err) {
		return err
	}
	known, perr := Positions(ctx, db, projection)
	switch {
	case perr != nil:
		return err
	case len(known) == 0:
		return ErrTokenForeign.New("this database has no projection %.100q", projection)
	}
	return ErrNoWaiting.New("projection %s was last run by a release without WaitFor", projection)
}

// reach says how an event's partitions stand to a token.
type reach uint8

const (
	notPast          reach = iota // some may hold the event yet, or nothing is known
	past                          // all are at or past the token, in its epoch
	pastInLaterEpoch              // none will hold the event any more: it was passed or lost
)

// reached compares the event's partition in every topic: which of them holds the
// event is known to the publisher's routes only.
//
// The rows that the daemon found at its very first start share one position, just
// below an aligned LSN; those of commits have none but aligned ones. Such a
// position may be past the token before the event is: it proves nothing.
func (s *seen) reached(t token.Token, e token.Event) reach {
	if t.Epoch == 0 || len(s.places) == 0 {
		return notPast
	}
	r, named := past, false
	for _, p := range s.places {
		named = named || p.topic[strings.LastIndexByte(p.topic, '/')+1:] == e.AggregateType
		switch {
		case p.partition < 0 || p.at.LSN == 0 || p.at.LSN%8 != 0 || p.at.Epoch < t.Epoch || p.at.Epoch == t.Epoch && p.at.LSN < t.LSN:
			return notPast
		case p.at.Epoch > t.Epoch:
			r = pastInLaterEpoch
		}
	}
	if s.anyType && !named {
		return notPast // it may be in none of them
	}
	return r
}

// where says for people how far the event's partitions are.
func (s *seen) where() string {
	if len(s.places) == 0 {
		return "its topics are not known yet"
	}
	slices.SortFunc(s.places, func(a, b place) int { return cmp.Compare(a.topic, b.topic) })
	var all []string
	for i, p := range s.places {
		name := p.topic[strings.LastIndexByte(p.topic, '/')+1:]
		switch {
		case i == 4:
			return strings.Join(all, ", ") + ", ..."
		case p.partition < 0:
			all = append(all, fmt.Sprintf("topic %s was not found yet", name))
		case p.at.IsZero():
			all = append(all, fmt.Sprintf("partition %d of %s had no event", p.partition, name))
		default:
			all = append(all, fmt.Sprintf("partition %d of %s is at epoch %d, LSN %016x", p.partition, name, p.at.Epoch, p.at.LSN))
		}
	}
	return strings.Join(all, ", ")
}

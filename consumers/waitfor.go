package consumers

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/token"
)

// Pauses between looks at the database: what was applied is noticed within the
// longest, and the time of one query.
const (
	waitFirst = 2 * time.Millisecond
	waitLast  = 25 * time.Millisecond
)

// WaitFor returns nil when the live version of a projection has applied every
// event of a token, which Receipt.Token made where the events were written: what
// is read from the copy after that shows them. Events of types that the projection
// has no handler for do not count, and one that was discarded counts as applied.
//
// It asks the projection's database and nothing else, so that it works in any
// process, with one short query every 2 to 25 ms. db must see what others commit:
// not a transaction that reads from one snapshot.
//
// An event counts as applied when the projection passed its id, which it keeps
// for Config.WaitWindow, or when its position is past the token in the event's
// partition of every topic that it reads. That a topic of it holds the event is
// taken for granted, so that one which the pipeline parked counts as applied once
// others of its partition were; where HandleBatch takes all types, only of a topic that is
// called after the aggregate type.
//
// Errors: ErrTokenMalformed; ErrTokenForeign; ErrParked; ErrNoWaiting, at once, for
// a projection without a window whose position does not prove it; ErrTokenExpired
// and ErrTokenHistory, when it can't be known any more; ErrNotApplied, which wraps
// ctx's error, when ctx ended first; or the database's own.
func WaitFor(ctx context.Context, db Querier, projection, text string) error {
	t, err := token.Decode(text)
	if err != nil {
		return ErrTokenMalformed.Wrap(err, "%.100q", text)
	}
	if len(t.Events) == 0 {
		return nil
	}
	for _, e := range t.Events { // it may come from anywhere
		if !isText(e.Type) {
			return ErrTokenMalformed.New("the event type %.100q is not text", e.Type)
		}
	}
	w := waiter{db: db, projection: projection, token: t, pending: t.Events}
	for pause := waitFirst; ; pause = min(2*pause, waitLast) {
		switch err := w.look(ctx); {
		case err == nil && len(w.pending) == 0:
			return nil
		case fault.Find(err) != nil:
			return err
		case ctx.Err() != nil:
			return w.notApplied(ctx.Err())
		case err != nil:
			return fmt.Errorf("waiting for projection %s: %w", projection, err)
		}
		if err := sleep(ctx, pause); err != nil {
			return w.notApplied(err)
		}
	}
}

// waiter is one call of WaitFor.
type waiter struct {
	db         Querier
	projection string
	token      token.Token
	version    int           // of the projection, that pending is about
	pending    []token.Event // not known to be applied
	applied    int           // number of events known to be
	last       []seen        // what was seen of pending
}

// look asks the database once and takes out of pending what was applied.
func (w *waiter) look(ctx context.Context) error {
	all, err := readSeen(ctx, w.db, w.projection, w.pending)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return ErrTokenForeign.New("this database has no projection %.100q", w.projection)
	}
	if v := all[0].version; v != w.version {
		// Another version has become the live one: all of it has to be there.
		again := w.version != 0
		w.version, w.applied, w.pending, w.last = v, 0, w.token.Events, nil
		if again {
			return w.look(ctx)
		}
	}
	var left []token.Event
	var last []seen
	for i := range all {
		applied, err := w.judge(w.pending[i], &all[i])
		switch {
		case err != nil:
			return err
		case applied:
			w.applied++
		case all[i].handled:
			left, last = append(left, w.pending[i]), append(last, all[i])
		}
	}
	if w.pending, w.last = left, last; len(left) == 0 && w.applied == 0 {
		return ErrTokenForeign.New("projection %s has no handler for %s", w.projection, typesOf(w.token.Events)).
			Fix("Wait in a projection that handles these events, or do not wait for them; those without a handler never come.")
	}
	return nil
}

// judge says whether an event was applied, or that it can't be waited for. Without
// either it may be applied yet.
func (w *waiter) judge(e token.Event, s *seen) (applied bool, err error) {
	id := uuid.UUID(e.ID)
	switch {
	case s.aside != "":
		return false, ErrParked.New("event %s (%s) is %s in projection %s", id, e.Type, s.aside, w.projection)
	case !s.handled:
		return false, nil
	case s.passed:
		return true, nil
	}
	switch s.reached(w.token, e) {
	case past:
		return true, nil
	case pastInLaterEpoch:
		return false, ErrTokenHistory.New("event %s (%s) is of epoch %d, projection %s of a later one, and it does not know the event: %s",
			id, e.Type, w.token.Epoch, w.projection, s.where())
	}
	switch {
	case !s.keeps:
		return false, ErrNoWaiting.New("event %s (%s) is not proven to be in projection %s: %s; the token says %s",
			id, e.Type, w.projection, s.where(), w.after())
	case written(id).Before(s.oldest) && id.Version() == 7:
		return false, ErrTokenExpired.New("event %s (%s) was written at %s, and what projection %s passed is known since %s",
			id, e.Type, written(id).UTC().Format(time.RFC3339), w.projection, s.oldest.UTC().Format(time.RFC3339))
	}
	return false, nil
}

// written returns when an id of version 7 was made, by the writer's clock.
func written(id uuid.UUID) time.Time {
	var ms int64
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms)
}

// notApplied says what is missing when ctx has ended.
func (w *waiter) notApplied(cause error) error {
	e := w.pending[0]
	what := fmt.Sprintf("event %s (%s) is not in projection %s yet", uuid.UUID(e.ID), e.Type, w.projection)
	if more := len(w.pending) - 1; more > 0 {
		what = fmt.Sprintf("%s, nor are %d others", what, more)
	}
	if len(w.last) > 0 {
		what = fmt.Sprintf("%s: %s; the token says %s", what, w.last[0].where(), w.after())
	}
	return ErrNotApplied.Wrap(cause, "%s", what)
}

func (w *waiter) after() string {
	if w.token.Epoch == 0 {
		return "no position"
	}
	return fmt.Sprintf("epoch %d, LSN %016x", w.token.Epoch, w.token.LSN)
}

func typesOf(events []token.Event) string {
	var names []string
	known := make(map[string]bool)
	for _, e := range events {
		if !known[e.Type] {
			known[e.Type] = true
			names = append(names, e.Type)
		}
	}
	return strings.Join(names, ", ")
}

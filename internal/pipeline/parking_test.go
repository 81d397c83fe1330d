package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/deadletter"
	"github.com/runnel-cdc/runnel/internal/history"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/pulsartest"
)

// letters returns what is parked, by event id.
func (w *world) letters() map[string]*deadletter.Letter {
	w.t.Helper()
	all, err := pipeline.ParkedEvents(w.t.Context(), w.client, w.cfg.Namespace, w.cfg.Name)
	if err != nil {
		w.t.Fatal(err)
	}
	ids := make(map[string]*deadletter.Letter)
	for _, l := range all {
		ids[deadletter.NewRecord(l.Key, false, []deadletter.Entry{l.Entry}).Events[0].ID] = l
	}
	return ids
}

// release retries or discards what matches, as the administrator.
func (w *world) release(discard bool, match func(*deadletter.Letter) bool) pipeline.Released {
	w.t.Helper()
	r, err := w.releaseWith(w.db.Conn(w.t), discard, match)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) releaseWith(db *pgx.Conn, discard bool, match func(*deadletter.Letter) bool) (pipeline.Released, error) {
	return pipeline.Release{Namespace: w.cfg.Namespace, Pipeline: w.cfg.Name, Slot: w.cfg.Slot, Client: w.client,
		DB: db, Discard: discard, Match: match, Wait: 30 * time.Second}.Run(w.t.Context())
}

func everything(*deadletter.Letter) bool { return true }

// accounted requires that each event of the outbox is published once, or parked, or was
// given up, and that an aggregate's events are published in the order in which they were
// written first.
func (w *world) accounted(topic string, discarded map[string]bool) {
	w.t.Helper()
	w.caughtUp()
	parked := w.letters()
	published := map[string]int{}
	order := pgtest.Values[string](w.t, w.db, `select id::text from runnel.outbox order by seq`)
	first := map[string]int{}
	for i, id := range order {
		if _, ok := first[id]; !ok {
			first[id] = i
		}
	}
	last := map[string]int{}
	w.read(topic, func(m *broker.Incoming, s position.Stamp) {
		id := m.Properties["id"]
		published[id]++
		if first[id] < last[m.Key] {
			w.t.Errorf("%s of %s at %s is published after a later event", id, m.Key, s)
		}
		last[m.Key] = first[id]
	})
	wrong := 0
	for id := range first {
		n := published[id]
		if parked[id] != nil {
			n++
		}
		if discarded[id] {
			n++
		}
		if n != 1 {
			if wrong++; wrong < 5 {
				w.t.Errorf("event %s: %d times published, parked: %v, discarded: %v", id, published[id], parked[id] != nil, discarded[id])
			}
		}
	}
	if len(published)+len(parked)+len(discarded) != len(first) || wrong > 0 {
		w.t.Errorf("of %d events, %d are published, %d parked, %d discarded; %d wrong", len(first), len(published), len(parked), len(discarded), wrong)
	}
}

// TestPoisonIsParked: an event that can't be published is parked with its reason and its
// bytes, and the later ones of its aggregate behind it; others go on.
func TestPoisonIsParked(t *testing.T) {
	for name, test := range poisons {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.cfg.Park = true
			w.init()
			p, _ := w.start()
			w.write(1, 50)
			w.caughtUp()
			test.insert(w)
			w.write(51, 40)
			w.accounted("order", nil)
			behind, codes := 0, map[string]int{}
			for id, l := range w.letters() {
				codes[l.Code]++
				if l.Code == "EVENT_BEHIND_PARKED" {
					behind++
				}
				was := pgtest.Value[string](t, w.db, `select concat_ws(' ', aggregate_type, aggregate_id, event_type, encoding, md5(payload), md5(fingerprint), headers,
					(extract(epoch from occurred_at) * 1000000)::bigint) from runnel.outbox where id = $1::text::uuid`, id)
				is := pgtest.Value[string](t, w.db, `select concat_ws(' ', $1::text, nullif($2::text, ''), $3::text, $4::int, md5($5::bytea), md5(nullif($6::bytea, '')), $7::text, $8::bigint)`,
					l.Key.AggregateType, l.Key.AggregateID, l.EventType, int(l.Encoding), l.Payload, fingerprintOf(l), string(l.Headers), l.OccurredAt)
				if was = strings.ReplaceAll(was, "  ", " "); was != is {
					t.Errorf("parked %s\nwas    %s", is, was)
				}
			}
			if codes[test.code] != 1 || len(codes) > 2 {
				t.Errorf("codes %v, want one %s", codes, test.code)
			}
			if test.waits && behind == 0 {
				t.Error("nothing waits behind it")
			}
			pgtest.Eventually(t, 10*time.Second, func() bool { return p.Status().Parked != nil && p.Status().Parked.Events == behind+1 }, "the status to tell")
			if st := p.Status(); st.State != pipeline.Streaming || time.Since(st.Parked.Since) > time.Minute {
				t.Errorf("status %+v, parked %+v", st, st.Parked)
			}
		})
	}
}

func fingerprintOf(l *deadletter.Letter) []byte {
	if l.Encoding != 1 {
		return nil
	}
	return l.Fingerprint[:]
}

// shipped writes an event that fits.
func (w *world) shipped(id, carrier string) {
	w.insert("order", id, "OrderShipped", 2, nil, fmt.Appendf(nil, `{"order_id":"1","carrier":"%s","shipped_at":"2026-01-01T00:00:00Z"}`, carrier))
}

// TestRetryAfterMending: what was parked for a limit is published in order once the limit
// is mended, while events of the same aggregates go on arriving.
func TestRetryAfterMending(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Park = true
	w.init()
	w.start()
	w.write(1, 40)
	w.caughtUp()
	path := "/admin/v2/persistent/" + w.cfg.Namespace + "/order/maxMessageSize"
	pulsartest.Admin(t, http.MethodPost, path, 3000)
	w.shipped("3", strings.Repeat("x", 4000))
	w.write(41, 40)
	w.shipped("3", strings.Repeat("y", 4000))
	w.shipped("4", strings.Repeat("z", 4000))
	w.accounted("order", nil)
	if n := len(w.letters()); n < 5 {
		t.Fatalf("%d events are parked", n)
	}
	// Still too large: parked again, each in its place.
	before := w.letters()
	r := w.release(false, everything)
	if after := w.letters(); r.Left != len(before) || len(r.Again) == 0 || len(after) != len(before) || r.Aggregates != 2 {
		t.Errorf("%+v; %d were parked, %d are", r, len(before), len(after))
	}
	w.accounted("order", nil)
	pulsartest.Admin(t, http.MethodPost, path, 100_000)
	written := make(chan struct{})
	go func() {
		defer close(written)
		for n := 81; n < 481; n += 20 {
			w.write(n, 20)
		}
	}()
	// The broker, and the daemon, learn of a limit after a while.
	pgtest.Eventually(t, time.Minute, func() bool {
		r = w.release(false, everything)
		return len(r.Again) == 0
	}, "a retry that succeeds")
	<-written
	w.caughtUp()
	if r = w.release(false, everything); r.Left > 0 || len(w.letters()) > 0 {
		t.Errorf("%+v", r)
	}
	w.accounted("order", nil)
}

// TestRetryWithoutRest: events of an aggregate that is written to all the time are caught
// up with when its writers are held for a moment.
func TestRetryWithoutRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Park = true
	w.init()
	w.start()
	poisons["JSON that does not fit"].insert(w)
	ctx, cancel := context.WithCancel(t.Context())
	written := make(chan struct{})
	go func() {
		defer close(written)
		for n := 1; ctx.Err() == nil; n += 20 {
			w.write(n, 20)
		}
	}()
	pgtest.Eventually(t, time.Minute, func() bool { return len(w.letters()) > 50 }, "some to wait behind it")
	poison := func(l *deadletter.Letter) bool { return l.Code == "EVENT_UNENCODABLE" }
	discarded := map[string]bool{}
	for id, l := range w.letters() {
		if poison(l) {
			discarded[id] = true
		}
	}
	w.release(true, poison)
	r, err := pipeline.Release{Namespace: w.cfg.Namespace, Pipeline: w.cfg.Name, Slot: w.cfg.Slot, Client: w.client,
		DB: w.db.Conn(t), Match: everything, Exclusive: true}.Run(t.Context())
	if err != nil || r.Left > 0 || r.Events < 50 {
		t.Errorf("%+v, %v", r, err)
	}
	cancel()
	<-written
	w.accounted("order", discarded)
	if n := len(w.letters()); n > 0 {
		t.Errorf("%d are parked still", n)
	}
}

// TestDiscard: what is discarded is gone, and what stood behind it can be retried.
func TestDiscard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Park = true
	w.init()
	_, stop := w.start()
	w.write(1, 40)
	poisons["JSON that does not fit"].insert(w)
	w.write(41, 60)
	w.accounted("order", nil)
	poison := func(l *deadletter.Letter) bool { return l.Code == "EVENT_UNENCODABLE" }
	discarded := map[string]bool{}
	for id, l := range w.letters() {
		if poison(l) {
			discarded[id] = true
		}
	}
	if r := w.release(true, poison); r.Events != 1 || r.Left == 0 {
		t.Errorf("%+v", r)
	}
	w.accounted("order", discarded)
	if r := w.release(false, everything); r.Left > 0 || r.Events == 0 {
		t.Errorf("%+v", r)
	}
	w.accounted("order", discarded)
	if n := len(w.letters()); n > 0 {
		t.Errorf("%d are parked still", n)
	}
	// A daemon that starts knows as much.
	stop()
	w.cfg.Park = false
	p, _ := w.start()
	w.write(101, 20)
	w.accounted("order", discarded)
	if st := p.Status(); st.Parked != nil {
		t.Errorf("%+v", st.Parked)
	}
}

// TestParkedLimit: when more events would be parked than may be, the pipeline halts, and
// goes on with a greater limit.
func TestParkedLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Park, w.cfg.ParkedLimit, w.cfg.Recheck = true, 3, time.Second
	w.init()
	p, stop := w.start()
	poisons["JSON that does not fit"].insert(w)
	for range 5 {
		w.shipped("1", "DHL")
	}
	w.shipped("2", "DHL")
	st := reaches(t, p, pipeline.Halted, "PARKED_LIMIT")
	if n := len(w.letters()); n != 3 || !strings.Contains(st.Message, "position 0000000") {
		t.Errorf("%d are parked: %s", n, st.Message)
	}
	stop()
	w.cfg.ParkedLimit = 100
	w.start()
	w.accounted("order", nil)
	if n := len(w.letters()); n != 6 {
		t.Errorf("%d are parked", n)
	}
}

// TestStoppingKeepsWhatIsParked: with the policy stop again, what waits behind a parked
// event waits on, and the next poison halts.
func TestStoppingKeepsWhatIsParked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Park, w.cfg.Recheck = true, time.Second
	w.init()
	_, stop := w.start()
	poisons["JSON that does not fit"].insert(w)
	w.write(1, 40)
	w.accounted("order", nil)
	stop()
	w.cfg.Park = false
	p, stop := w.start()
	w.write(41, 40)
	w.accounted("order", nil)
	w.insert("order", "2", "OrderShipped", 2, nil, []byte(`{"order_id":1}`))
	reaches(t, p, pipeline.Halted, "EVENT_UNENCODABLE")
	stop()
	// The topic is as much the pipeline's as those that it publishes to.
	pulsartest.Admin(t, http.MethodDelete, "/admin/v2/persistent/"+w.cfg.Namespace+"/"+deadletter.Topic(w.cfg.Name)+"/partitions?force=true", nil)
	p, _ = w.start()
	reaches(t, p, pipeline.Halted, "DEAD_LETTERS_MISSING")
}

// TestReleaseNeedsTheOwner: and says so; a role that was given the function may, too.
func TestReleaseNeedsTheOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Park = true
	w.init()
	_, stop := w.start()
	poisons["JSON that does not fit"].insert(w)
	w.accounted("order", nil)
	daemon, err := pgx.Connect(t.Context(), w.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = daemon.Close(context.WithoutCancel(t.Context())) }()
	_, err = w.releaseWith(daemon, false, everything)
	if !errors.Is(err, pipeline.ErrReleaseRight) {
		t.Errorf("as the daemon: %v", err)
	}
	if _, err := daemon.Exec(t.Context(), "insert into runnel.control (pipeline, kind) values ('p', 'release')"); err == nil {
		t.Error("the daemon's role may write to runnel.control")
	}
	w.db.Exec(t, `grant execute on function runnel.release_parked to "`+w.cfg.Roles.Daemon+`"`)
	stop()
	release := pipeline.Release{Namespace: w.cfg.Namespace, Pipeline: w.cfg.Name, Slot: w.cfg.Slot, Client: w.client, DB: daemon, Match: everything, Wait: time.Second}
	_, err = release.Run(t.Context())
	if !errors.Is(err, pipeline.ErrReleasePending) {
		t.Errorf("without a daemon: %v", err)
	}
	w.start()
	w.accounted("order", nil)
	if n := len(w.letters()); n != 1 {
		t.Errorf("%d are parked; want the one that cannot be published yet", n)
	}
}

// TestParkedThenKnown: an event of a type that the catalog does not have is parked; one
// that it has by now is published, not parked.
func TestParkedThenKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Park = true
	w.cfg.Schemas = catalogWith(t, nil)
	w.init()
	w.start()
	w.insert("order", "1", "OrderReturned", 2, nil, []byte(`{"id":"1"}`))
	w.insert("parcel", "1", "ParcelSent", 2, nil, []byte(`{"id":"1"}`))
	w.write(1, 20)
	w.caughtUp()
	if n := len(w.letters()); n != 4 { // two are behind
		t.Errorf("%d are parked", n)
	}
	addEvent(t, w.cfg.Schemas, "OrderReturned", "order")
	addEvent(t, w.cfg.Schemas, "ParcelSent", "parcel")
	w.insert("parcel", "2", "ParcelSent", 2, nil, []byte(`{"id":"2"}`))
	w.caughtUp()
	if n := len(w.topic("parcel")); n != 1 {
		t.Errorf("%d events in topic parcel", n)
	}
	if r := w.release(false, everything); r.Left > 0 || r.Events != 4 {
		t.Errorf("%+v", r)
	}
	if n := len(w.topic("parcel")); n != 2 {
		t.Errorf("%d events in topic parcel", n)
	}
}

// TestOwnTopicsAreKept: however short the retention of the namespace is, or becomes, what
// is parked and the pipeline's history stay.
func TestOwnTopicsAreKept(t *testing.T) {
	t.Parallel()
	for _, first := range []time.Duration{2 * time.Hour, 0} {
		w := newWorld(t)
		w.cfg.Park, w.cfg.Retention = true, first
		w.init()
		for _, retention := range []time.Duration{first, 2 * time.Hour} {
			w.cfg.Retention = retention
			p, stop := w.start()
			reaches(t, p, pipeline.Streaming, "")
			stop()
		}
		for _, topic := range []string{deadletter.Topic(w.cfg.Name), history.Topic(w.cfg.Name)} {
			var kept struct {
				Minutes int `json:"retentionTimeInMinutes"`
				MB      int `json:"retentionSizeInMB"`
			}
			answer := pulsartest.Admin(t, http.MethodGet, "/admin/v2/persistent/"+w.cfg.Namespace+"/"+topic+"/retention", nil)
			if err := json.Unmarshal(answer, &kept); err != nil || kept.Minutes != -1 || kept.MB != -1 {
				t.Errorf("first %s: %s of %s: %v", first, answer, topic, err)
			}
		}
	}
}

// TestRepairAccountsForWhatIsParked: a repair of the slot neither publishes what is parked,
// nor takes for parked what was released and is in no topic. A retry that the lost slot
// had not shown yet is as if it had not been tried.
func TestRepairAccountsForWhatIsParked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Park, w.cfg.Recheck = true, time.Second
	w.init()
	_, stop := w.start()
	w.write(1, 40)
	poisons["JSON that does not fit"].insert(w)
	w.write(41, 40)
	w.insert("order", "2", "OrderShipped", 2, nil, []byte(`{"order_id":1}`))
	w.write(81, 40)
	w.accounted("order", nil)
	key := func(key string) func(*deadletter.Letter) bool {
		return func(l *deadletter.Letter) bool { return l.Key.AggregateID == key && l.Code == "EVENT_UNENCODABLE" }
	}
	discarded := map[string]bool{}
	for id, l := range w.letters() {
		if key("2")(l) {
			discarded[id] = true
		}
	}
	w.release(true, key("2"))
	w.accounted("order", discarded)
	stop()
	pending := pipeline.Release{Namespace: w.cfg.Namespace, Pipeline: w.cfg.Name, Slot: w.cfg.Slot, Client: w.client, DB: w.db.Conn(t), Match: everything, Wait: time.Second}
	if _, err := pending.Run(t.Context()); !errors.Is(err, pipeline.ErrReleasePending) {
		t.Fatal(err)
	}
	before := len(w.letters())
	w.dropSlot(w.db.Conn(t))
	w.write(121, 40)
	p, _ := w.start()
	reaches(t, p, pipeline.Halted, "SLOT_MISSING")
	plan, err := pipeline.PlanRepair(t.Context(), w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pipeline.Repair(t.Context(), w.cfg, plan.Hash); err != nil {
		t.Fatal(err)
	}
	w.accounted("order", discarded)
	if after := len(w.letters()); after <= before {
		t.Errorf("%d were parked, %d are: those behind them are missing", before, after)
	}
	if r := w.release(false, func(l *deadletter.Letter) bool { return l.Key.AggregateID == "2" }); r.Left > 0 || r.Events == 0 {
		t.Errorf("%+v", r)
	}
	w.accounted("order", discarded)
}

// TestParkingKilled: a daemon that is killed again and again while it parks, and while
// people retry, parks and publishes each event once.
func TestParkingKilled(t *testing.T) {
	w := newWorld(t)
	w.cfg.Park = true
	w.init()
	w.cfg.ParkedLimit = 100_000
	w.db.Exec(t, `alter table runnel.outbox disable trigger outbox_event_types`) // which the daemons' starts would arm
	ctx, cancel := context.WithCancel(t.Context())
	written := make(chan struct{})
	go func() {
		defer close(written)
		for n := 1; ctx.Err() == nil && n < 12_000; n += 100 {
			w.write(n, 100)
			key := fmt.Sprint(n / 100 % 4) // the other aggregates go on
			w.db.Exec(t, `insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload)
				values ('order', $1, 'OrderShipped', 2, '{"order_id":1}'), ('order', '4', 'OrderEaten', 2, '{}')`, key)
		}
	}()
	for round := range 6 {
		p := w.spawn()
		if round%2 == 1 {
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = pipeline.Release{Namespace: w.cfg.Namespace, Pipeline: w.cfg.Name, Slot: w.cfg.Slot, Client: w.client,
					DB: w.db.Conn(t), Match: everything, Wait: 5 * time.Second}.Run(context.WithoutCancel(t.Context()))
			}()
			p.killAfter(t, 800)
			<-done
			continue
		}
		p.killAfter(t, 800)
	}
	cancel()
	<-written
	last := w.spawn()
	defer last.tell(t)
	w.accounted("order", nil)
	codes := map[string]int{}
	for _, l := range w.letters() {
		codes[l.Code]++
	}
	t.Logf("parked: %v", codes)
	if len(codes) < 3 {
		t.Errorf("only %v were parked", codes)
	}
}

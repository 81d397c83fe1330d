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
		for n := 1; ctx.Err() == nil && n < 100_000; n += 100 {
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

// TestSizesAgree: whatever an event's size is beside what its topic accepts, it is published
// or parked at once: what the router lets pass, the producer does not refuse.
func TestSizesAgree(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Park = true
	w.init()
	_, stop := w.start()
	w.write(1, 20)
	w.accounted("order", nil)
	stop()
	pulsartest.Admin(t, http.MethodPost, "/admin/v2/persistent/"+w.cfg.Namespace+"/order/maxMessageSize", 1000)
	for n := 600; n < 900; n++ { // of aggregates of their own: none waits behind another
		w.shipped(fmt.Sprintf("size-%d", n), strings.Repeat("x", n))
	}
	p, _ := w.start()
	w.accounted("order", nil)
	if parked := len(w.letters()); parked == 0 || parked == 300 {
		t.Errorf("%d events of 300 are parked: all of them lie on one side", parked)
	}
	if run := p.Status().Run; run > 1 {
		t.Errorf("the daemon began %d runs for it", run)
	}
}

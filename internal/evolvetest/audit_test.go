package evolvetest

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/schemas"
)

// row is an event as it was written into the outbox.
type row struct {
	ID, Aggregate, Type string
	Seq                 int64
	Fingerprint         []byte // nil: it is JSON
	Payload             []byte
}

// audit compares the whole topic with the outbox: every event is there once, and an
// order's events are in the order in which they were written. Each went out under the
// newest version that holds exactly what its service was built with, of those that the
// daemon had seen; and it saw a newer one no later than at the first event that needs it.
func (w *world) audit() {
	w.t.Helper()
	found, _ := w.db.Conn(w.t).Query(w.t.Context(), `select id::text, aggregate_id as aggregate, event_type as type, seq, fingerprint, payload from runnel.outbox`)
	all, err := pgx.CollectRows(found, pgx.RowToStructByName[row])
	if err != nil {
		w.t.Fatal(err)
	}
	written := make(map[string]row, len(all))
	for _, r := range all {
		written[r.ID] = r
	}
	versions := w.versions()
	last := make(map[string]int64) // by aggregate
	seen, under, known := make(map[string]bool), make(map[int64]int), int64(0)
	for _, m := range w.messages() {
		id := m.Properties["id"]
		r, ok := written[id]
		switch {
		case !ok:
			w.t.Errorf("%s is in the topic, and was not written", id)
			continue
		case seen[id]:
			w.t.Errorf("%s is in the topic twice", id)
		case r.Seq <= last[r.Aggregate] || m.Key != r.Aggregate:
			w.t.Errorf("%s of order %s (key %s) comes too late", id, r.Aggregate, m.Key)
		}
		seen[id], last[r.Aggregate] = true, r.Seq
		want := newest(versions, r, known)
		if want < 0 { // the daemon looks into the registry
			want = newest(versions, r, m.SchemaVersion)
			known = m.SchemaVersion
		}
		if m.SchemaVersion != want {
			w.t.Errorf("%s of %s went out under version %d, want %d", r.Type, r.Aggregate, m.SchemaVersion, want)
		}
		under[m.SchemaVersion]++
	}
	if missing := len(written) - len(seen); missing > 0 {
		w.t.Errorf("of %d events, %d are not in the topic", len(written), missing)
	}
	for _, v := range slices.Sorted(maps.Keys(under)) {
		w.t.Logf("%d events under version %d of the topic's schema", under[v], v)
	}
}

// newest returns the newest version, up to known, under which an event can go out; -1:
// there is none.
func newest(versions []*schemas.TopicSchema, r row, known int64) int64 {
	for _, v := range slices.Backward(versions) {
		e, ok := v.Event(r.Type)
		if !ok || v.Version > known {
			continue
		}
		if r.Fingerprint != nil && schemas.Fingerprint(r.Fingerprint) == e.Fingerprint || r.Fingerprint == nil && fits(r, e) {
			return v.Version
		}
	}
	return -1
}

// fits reports whether JSON holds nothing that the event has no field for.
func fits(r row, e *schemas.EventType) bool {
	var object map[string]any
	if json.Unmarshal(r.Payload, &object) != nil {
		return false
	}
	for _, f := range e.Schema.Fields {
		delete(object, f.Name)
	}
	return len(object) == 0
}

// messages reads the topic, in the order of positions. Within a partition positions
// rise, and ordinals are dense.
func (w *world) messages() []*broker.Incoming {
	w.t.Helper()
	n, err := w.client.Partitions(w.t.Context(), w.topic())
	if err != nil {
		w.t.Fatal(err)
	}
	var all []*broker.Incoming
	stamps := make(map[*broker.Incoming]position.Position)
	for i := range n {
		r, err := w.client.Read(w.t.Context(), broker.Partition{Topic: w.topic(), Index: i}, broker.Start{})
		if err != nil {
			w.t.Fatal(err)
		}
		var last position.Stamp
		for {
			more, err := r.HasNext(w.t.Context())
			if err != nil {
				w.t.Fatal(err)
			}
			if !more {
				break
			}
			m, err := r.Next(w.t.Context())
			if err != nil {
				w.t.Fatal(err)
			}
			s, err := m.Stamp()
			if err != nil || !last.Position.Less(s.Position) || s.Ordinal != last.Ordinal+1 {
				w.t.Errorf("partition %d: %s after %s (%v)", i, s, last, err)
			}
			last, stamps[m] = s, s.Position
			all = append(all, m)
		}
		r.Close()
	}
	slices.SortFunc(all, func(a, b *broker.Incoming) int {
		return cmp.Compare(stamps[a].String(), stamps[b].String())
	})
	return all
}

package evolution

import (
	"fmt"
	"maps"
	"slices"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/readerinfo"
	"github.com/runnel-cdc/runnel/schemas"
)

// Reader is a subscription of a topic, and what is known of who uses it.
type Reader struct {
	Topic        string // local name
	Subscription string // of Pulsar's readers, which have none, what their names have in common
	Backlog      int64  // entries that are not acknowledged
	Connected    int    // consumers
	// Unsubscribed: it reads with Pulsar's reader, and is known as long as it is connected.
	Unsubscribed bool
	// Projection is the name that its consumers tell, if they are Runnel's.
	Projection string
	// Reads are the events that its consumers handle, each with the fingerprints of the
	// versions they were built with; nil: that is not known, since nobody is connected or
	// somebody does not tell.
	Reads map[string][]schemas.Fingerprint
}

// String names the reader for people.
func (r Reader) String() string {
	name := r.Subscription
	switch {
	case r.Connected == 0:
		return fmt.Sprintf("%s (not connected, backlog %d)", name, r.Backlog)
	case r.Reads == nil && r.Unsubscribed:
		return fmt.Sprintf("%s (%d connected, without a subscription, does not tell what it reads)", name, r.Connected)
	case r.Reads == nil:
		return fmt.Sprintf("%s (%d connected, does not tell what it reads, backlog %d)", name, r.Connected, r.Backlog)
	}
	return fmt.Sprintf("%s (%d connected, backlog %d)", name, r.Connected, r.Backlog)
}

// Events returns the names of the events that it reads, sorted; nil when that is not
// known.
func (r Reader) Events() []string {
	if r.Reads == nil {
		return nil
	}
	names := slices.AppendSeq([]string{}, maps.Keys(r.Reads))
	slices.Sort(names)
	return names
}

// readers describes a topic's subscriptions. Readers of Runnel's own, which take no
// event as one of theirs (`runnel tail`), and those of projections, which have a
// subscription beside, are left out.
func readers(topic string, subscriptions []broker.Subscription) []Reader {
	var all []Reader
	for _, s := range subscriptions {
		if s.Readers {
			ours := func(c broker.SubscriptionConsumer) bool { _, ok := readerinfo.Parse(c.Properties); return ok }
			if s.Consumers = slices.DeleteFunc(slices.Clone(s.Consumers), ours); len(s.Consumers) == 0 {
				continue
			}
		}
		r := Reader{Topic: topic, Subscription: s.Name, Backlog: s.Backlog, Connected: len(s.Consumers), Unsubscribed: s.Readers}
		tells := len(s.Consumers) > 0
		reads := make(map[string][]schemas.Fingerprint)
		for _, c := range s.Consumers {
			info, ok := readerinfo.Parse(c.Properties)
			if ok {
				r.Projection = info.Name
			}
			tells = tells && ok && info.Reads != nil
			for event, fp := range info.Reads {
				if !slices.Contains(reads[event], fp) {
					reads[event] = append(reads[event], fp)
				}
			}
		}
		if tells {
			r.Reads = reads
		}
		all = append(all, r)
	}
	return all
}

// mayRead reports whether the reader may read an event of the catalog with one of the
// versions, or with one that is neither in its history nor the catalog's.
func (r Reader) mayRead(e *schemas.EventType, versions []Version, h History) bool {
	if r.Reads == nil {
		return true
	}
	for _, fp := range r.Reads[e.Name] {
		_, known := h.find(e.Name, fp)
		if !known && fp != e.Fingerprint || slices.ContainsFunc(versions, func(v Version) bool { return v.Event.Fingerprint == fp }) {
			return true
		}
	}
	return false
}

// needs reports whether the reader cannot do without an event that is taken out.
func (r Reader) needs(event string) bool {
	if r.Reads == nil {
		return r.Connected > 0 || r.Backlog > 0
	}
	return len(r.Reads[event]) > 0
}

// concern names the readers of each finding, and adds a finding for every reader that
// would break although the event's level lets the change through: the level says who is
// to be kept working, and whoever is connected today still is.
func concern(findings []Finding, events []*schemas.EventType, all []Reader, h History) []Finding {
	var left []Finding
	for i := range findings {
		f := &findings[i]
		if f.Direction != ForwardDirection || f.Known || f.Rule.Severity != schemas.Error {
			continue
		}
		at := slices.IndexFunc(events, func(e *schemas.EventType) bool { return e.Name == f.Event })
		if at < 0 {
			continue // what is judged forward is among them
		}
		e := events[at]
		for _, r := range all {
			if r.Topic != f.Topic || !r.mayRead(e, f.Against, h) {
				continue
			}
			f.Readers = append(f.Readers, r)
			twice := func(o Finding) bool {
				return o.Event == f.Event && o.Path == f.Path && o.Readers[0].Subscription == r.Subscription
			}
			if (!f.Required || f.Waived != nil) && !slices.ContainsFunc(left, twice) {
				left = append(left, leftBehind(f, r, h))
			}
		}
	}
	return append(findings, left...)
}

// leftBehind is the finding of one reader.
func leftBehind(f *Finding, r Reader, h History) Finding {
	reads := "may read it with an older version"
	if fps := r.Reads[f.Event]; len(fps) > 0 {
		var with []string
		for _, fp := range fps {
			if v, ok := h.find(f.Event, fp); ok {
				with = append(with, v.Label)
			} else {
				with = append(with, "an unknown version ("+fp.String()[:12]+")")
			}
		}
		reads = "reads it with " + list(with)
	}
	return Finding{Event: f.Event, Topic: f.Topic, Direction: ForwardDirection, Against: f.Against, Required: true, Readers: []Reader{r}, Finding: schemas.Finding{
		Rule: ReaderLeft, Path: f.Path, Type: f.Type, Reader: f.Reader, Writer: f.Writer, Fix: ReaderLeft.Fix,
		Message: fmt.Sprintf("%s %s: %s", r, reads, f.Message),
	}}
}

package catalogfile

import (
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/runnel-cdc/runnel/internal/strictyaml"
	"github.com/runnel-cdc/runnel/schemas"
)

// Level is the name of a compatibility level, as it is written.
type Level struct {
	Name string
	Pos  schemas.Pos
}

// Entry is what is said of one topic or event.
type Entry struct {
	Compatibility Level
	Owner         string   // who is asked about it
	Tags          []string // such as pii
	Pos           schemas.Pos
}

// Waiver lets a finding on a change pass. All but Path and Consumer are required.
type Waiver struct {
	Event, Rule, Path, Consumer, Reason, Owner string

	Expires time.Time // the first day on which it does not count, in UTC
	Pos     schemas.Pos
}

func (r *reader) level(entry *ast.MappingValueNode, prefix string) Level {
	return Level{r.text(entry, prefix+": want the name of a level"), r.pos(entry.Value)}
}

// entries reads a mapping of names to what is said of them.
func (r *reader) entries(section *ast.MappingValueNode, name string) map[string]Entry {
	if section.Value.Type() == ast.NullType {
		return nil
	}
	all, ok := strictyaml.Entries(section.Value)
	if !ok {
		_, _, found := strictyaml.Scalar(section.Value)
		r.fail(ErrType.New("%s: want a mapping of names, found %s", name, found).At("%s", r.place(section.Value)))
		return nil
	}
	entries := make(map[string]Entry, len(all))
	for _, of := range all {
		key, ok := strictyaml.Key(of)
		if !ok {
			r.fail(ErrSyntax.New("%s: a key must be a name followed by a value", name).At("%s", r.place(of)))
			continue
		}
		e := Entry{Pos: r.pos(of)}
		prefix := name + "." + key + "."
		r.keys(of.Value, prefix, "a mapping with compatibility, owner or tags", map[string]func(*ast.MappingValueNode){
			"compatibility": func(entry *ast.MappingValueNode) { e.Compatibility = r.level(entry, prefix+"compatibility") },
			"owner":         func(entry *ast.MappingValueNode) { e.Owner = r.text(entry, prefix+"owner: want a name") },
			"tags": func(entry *ast.MappingValueNode) {
				for _, item := range r.list(entry, prefix+"tags: want a list of words") {
					text, kind, found := strictyaml.Scalar(item)
					if kind != strictyaml.Text || text == "" {
						r.fail(ErrType.New("%stags: want a word, found %s", prefix, found).At("%s", r.place(item)))
						continue
					}
					e.Tags = append(e.Tags, text)
				}
			},
		})
		entries[key] = e
	}
	return entries
}

func (r *reader) waiver(item ast.Node) {
	w := Waiver{Pos: r.pos(item)}
	before := len(r.errs)
	into := func(field *string, what string) func(*ast.MappingValueNode) {
		return func(entry *ast.MappingValueNode) { *field = r.text(entry, "waivers: "+what) }
	}
	r.keys(item, "waivers: ", "a mapping with event, rule, reason, owner and expires", map[string]func(*ast.MappingValueNode){
		"event":    into(&w.Event, "event: want the name of an event"),
		"rule":     into(&w.Rule, "rule: want the id of a rule"),
		"path":     into(&w.Path, "path: want a path such as $.note"),
		"consumer": into(&w.Consumer, "consumer: want the name of a subscription"),
		"reason":   into(&w.Reason, "reason: want a sentence"),
		"owner":    into(&w.Owner, "owner: want a name"),
		"expires": func(entry *ast.MappingValueNode) {
			text := r.text(entry, "waivers: expires: want a day, YYYY-MM-DD")
			if text == "" {
				return
			}
			var err error
			if w.Expires, err = time.Parse(time.DateOnly, text); err != nil {
				r.fail(ErrValue.New("waivers: expires: %q is no day", text).At("%s", r.place(entry.Value)).Fix("Write it as 2027-01-31."))
			}
		},
	})
	if len(r.errs) > before {
		return
	}
	for _, need := range []struct{ name, value string }{{"event", w.Event}, {"rule", w.Rule}, {"reason", w.Reason}, {"owner", w.Owner}} {
		if need.value == "" {
			r.fail(ErrType.New("waivers: %s is missing", need.name).At("%s", r.place(item)).
				Fix("A waiver says which finding, why, who answers for it, and until when: event, rule, reason, owner, expires."))
			return
		}
	}
	if w.Expires.IsZero() {
		r.fail(ErrType.New("waivers: expires is missing").At("%s", r.place(item)).Fix("Write the first day on which it does not count: expires: 2027-01-31."))
		return
	}
	r.out.Waivers = append(r.out.Waivers, w)
}

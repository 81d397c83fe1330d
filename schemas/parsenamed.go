package schemas

import (
	"math"
	"strings"
)

// buildNamed fills in a record, an enum or a fixed, whose name is declared.
func (p *parser) buildNamed(o *object, s *Schema) {
	for _, key := range []string{"name", "namespace"} {
		o.get(key) // read when declared
	}
	s.Aliases = p.aliases(o, s.Namespace, true)
	switch s.Type {
	case Record:
		p.buildFields(o, s)
	case Enum:
		p.buildEnum(o, s)
	case Fixed:
		size, at, ok := o.integer("size")
		if !ok || size < 0 || size > maxFixedSize {
			where := s.Pos
			if at != 0 {
				where = o.doc.pos(at)
			}
			p.fail(ErrSyntax, where, "a fixed needs a \"size\" from 0 to %d", maxFixedSize)
		}
		s.Size = size
	}
	p.finishType(o, s)
	p.checkAggregate(o, s)
}

// checkAggregate refuses an aggregate type that could not name a topic.
func (p *parser) checkAggregate(o *object, s *Schema) {
	raw, ok := s.Props[aggregateProp]
	if !ok {
		return
	}
	at, _ := o.get(aggregateProp)
	name, isEvent := s.Aggregate()
	switch {
	case s.Type != Record:
		p.fail(ErrNotAnEvent, o.doc.pos(at), "only a record can be an event, not the %s %s", s.Type, s.FullName())
	case !isEvent:
		p.fail(ErrNotAnEvent, o.doc.pos(at), "%q must be the name of an aggregate type, found %s", aggregateProp, raw)
	case strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune(topicCharacters, r) }):
		p.report(ErrInvalidName.New("the aggregate type %q must be letters, digits, _ - and .", name).At("%s", o.doc.pos(at)).
			Fix("Write it with letters, digits, _ - and . alone: it names a topic."))
	}
}

const topicCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."

// aliases reads "aliases"; those of types become full names. Since Avro 1.12 an
// alias may be any string.
func (p *parser) aliases(o *object, space string, full bool) []string {
	items, _ := p.list(o, "aliases")
	var out []string
	for _, at := range items {
		if o.doc.kind(at) != tokString {
			p.fail(ErrSyntax, o.doc.pos(at), "an alias must be a string, found %s", o.doc.kind(at))
			continue
		}
		alias := o.doc.tape.text(at)
		if p.strict && !validName(alias) && (!full || !validNamespace(alias)) {
			p.fail(ErrInvalidName, o.doc.pos(at), "%q is not a name", alias)
			continue
		}
		if full && space != "" && !strings.Contains(alias, ".") {
			alias = space + "." + alias
		}
		out = append(out, alias)
	}
	return out
}

func (p *parser) buildFields(o *object, s *Schema) {
	items, ok := p.list(o, "fields")
	if !ok {
		if _, found := o.get("fields"); !found {
			p.fail(ErrSyntax, s.Pos, "the record %s needs \"fields\"", s.FullName())
		}
		return
	}
	seen := make(map[string]bool, len(items))
	for _, at := range items {
		if o.doc.kind(at) != tokObject {
			p.fail(ErrSyntax, o.doc.pos(at), "a field must be an object, found %s", o.doc.kind(at))
			continue
		}
		f := p.buildField(p.object(o.doc, at), s)
		if f == nil {
			continue
		}
		if seen[f.Name] {
			p.report(ErrDuplicateName.New("%s has two fields named %q", s.FullName(), f.Name).At("%s", f.Pos).
				Fix("Rename one of them, or take it out."))
		}
		seen[f.Name] = true
		s.Fields = append(s.Fields, f)
	}
}

// buildField returns nil when not even the name is usable.
func (p *parser) buildField(o *object, record *Schema) *Field {
	f := &Field{Pos: o.doc.pos(o.self)}
	name, at, ok := p.str(o, "name")
	switch {
	case !ok && at == 0:
		p.fail(ErrSyntax, f.Pos, "a field needs a \"name\"")
		return nil
	case !ok:
		return nil
	case !validName(name):
		p.fail(ErrInvalidName, o.doc.pos(at), "%q is not a name", name)
	}
	f.Name = name
	f.Doc, _, _ = p.str(o, "doc")
	f.Aliases = p.aliases(o, "", false)
	if at, ok := o.get("type"); ok {
		f.Type = p.build(o.doc, at, record.Namespace)
	} else {
		p.fail(ErrSyntax, f.Pos, "the field %q needs a \"type\"", name)
	}
	if order, at, ok := p.str(o, "order"); ok {
		switch order {
		case "descending", "ignore":
			f.Order = order
		case "ascending": // the default
		default:
			p.fail(ErrSyntax, o.doc.pos(at), "\"order\" must be ascending, descending or ignore, found %q", order)
		}
	}
	if at, ok := o.get("default"); ok {
		f.Default = o.doc.tape.appendNormal(nil, at)
		p.defaults[f] = defaultAt{doc: o.doc, tok: at}
		p.fields = append(p.fields, f)
	}
	f.Props = o.rest()
	return f
}

func (p *parser) buildEnum(o *object, s *Schema) {
	items, ok := p.list(o, "symbols")
	if !ok || len(items) == 0 {
		p.fail(ErrSyntax, s.Pos, "the enum %s needs \"symbols\"", s.FullName())
	}
	seen := make(map[string]bool, len(items))
	for _, at := range items {
		symbol := ""
		if o.doc.kind(at) == tokString {
			symbol = o.doc.tape.text(at)
		}
		switch {
		case !validName(symbol):
			p.fail(ErrInvalidName, o.doc.pos(at), "%s is not a symbol", o.doc.tape.appendNormal(nil, at))
		case seen[symbol]:
			p.report(ErrDuplicateName.New("%s has two symbols %q", s.FullName(), symbol).At("%s", o.doc.pos(at)).
				Fix("Rename one of them, or take it out."))
		}
		seen[symbol] = true
		s.Symbols = append(s.Symbols, symbol)
	}
	if symbol, at, ok := p.str(o, "default"); ok {
		if !seen[symbol] {
			p.fail(ErrInvalidDefault, o.doc.pos(at), "the default %q is not a symbol of %s", symbol, s.FullName())
		}
		s.EnumDefault = symbol
	}
}

// checkAliases refuses aliases that are names in use: a reader could then not
// tell which field is meant.
func (p *parser) checkAliases(s *Schema) {
	taken := make(map[string]string)
	for _, f := range s.Fields {
		taken[f.Name] = "a field"
	}
	for _, f := range s.Fields {
		for _, alias := range f.Aliases {
			if what, ok := taken[alias]; ok {
				p.fail(ErrInvalidAlias, f.Pos, "the alias %q of field %q is already %s of %s", alias, f.Name, what, s.FullName())
			}
			taken[alias] = "an alias"
		}
	}
	for _, alias := range s.Aliases {
		if other, ok := p.names[alias]; ok {
			p.fail(ErrInvalidAlias, s.Pos, "the alias %q of %s is the type at %s", alias, s.FullName(), other.Pos)
		}
	}
}

func (s *Schema) makeIndex() {
	s.index = make(map[string]int, len(s.Fields)+len(s.Symbols))
	for i, f := range s.Fields {
		s.index[f.Name] = i
	}
	for i, symbol := range s.Symbols {
		s.index[symbol] = i
	}
}

// checkBounded refuses records of which no value can end. A record is bounded
// once each of its fields is, a union once one branch is; an array or a map may
// be empty. Each field is looked at once, and again when what it waits for is
// bounded.
func (p *parser) checkBounded() {
	type wait struct {
		record *Schema
		field  int
	}
	waiting := make(map[*Schema]int) // fields of a record that are not bounded yet
	users := make(map[*Schema][]wait)
	var bounded []*Schema
	for _, s := range p.types {
		if s.Type != Record {
			continue
		}
		for i, f := range s.Fields {
			needs := neededRecords(f.Type)
			for _, r := range needs {
				users[r] = append(users[r], wait{s, i})
			}
			if len(needs) > 0 {
				waiting[s]++
			}
		}
		if waiting[s] == 0 {
			bounded = append(bounded, s)
		}
	}
	done := make(map[wait]bool)
	for len(bounded) > 0 {
		last := len(bounded) - 1
		s := bounded[last]
		bounded = bounded[:last]
		for _, u := range users[s] {
			if done[u] {
				continue // another branch was bounded before
			}
			done[u] = true
			if waiting[u.record]--; waiting[u.record] == 0 {
				bounded = append(bounded, u.record)
			}
		}
	}
	for _, s := range p.types {
		if waiting[s] > 0 {
			p.fail(ErrUnbounded, s.Pos, "%s always contains itself", s.FullName())
		}
	}
}

// neededRecords returns the records of which one must be bounded so that s is; none
// when s is by itself.
func neededRecords(s *Schema) []*Schema {
	switch s.Type {
	case Record:
		return []*Schema{s}
	case Union:
		for _, b := range s.Branches {
			if b.Type != Record {
				return nil
			}
		}
		return s.Branches
	}
	return nil
}

var logicals = map[string]Logical{
	"decimal": Decimal, "uuid": UUID, "date": Date, "time-millis": TimeMillis, "time-micros": TimeMicros,
	"timestamp-millis": TimestampMillis, "timestamp-micros": TimestampMicros, "timestamp-nanos": TimestampNanos,
	"local-timestamp-millis": LocalTimestampMillis, "local-timestamp-micros": LocalTimestampMicros,
	"local-timestamp-nanos": LocalTimestampNanos, "duration": Duration,
}

var logicalNames = func() map[Logical]string {
	names := make(map[Logical]string, len(logicals))
	for name, l := range logicals {
		names[l] = name
	}
	return names
}()

// String returns the logical type's name in schema JSON, "" for none.
func (l Logical) String() string { return logicalNames[l] }

// logical reads the logical type; one that is unknown, or does not fit its base
// type, stays among the properties.
func (p *parser) logical(o *object, s *Schema) {
	at, ok := o.get("logicalType")
	if !ok {
		return
	}
	delete(o.used, "logicalType")
	if o.doc.kind(at) != tokString {
		return
	}
	l := logicals[o.doc.tape.text(at)]
	fits := false
	switch l {
	case Decimal:
		fits = p.decimal(o, s)
	case UUID:
		fits = s.Type == String || s.Type == Fixed && s.Size == 16
	case Date, TimeMillis:
		fits = s.Type == Int
	case Duration:
		fits = s.Type == Fixed && s.Size == 12
	case NoLogical:
	default:
		fits = s.Type == Long
	}
	if fits {
		s.Logical = l
		o.used["logicalType"] = true
	}
}

func (p *parser) decimal(o *object, s *Schema) bool {
	if s.Type != Bytes && s.Type != Fixed {
		return false
	}
	precision, _, hasPrecision := o.integer("precision")
	scale, scaleAt, hasScale := o.integer("scale")
	fits := hasPrecision && precision > 0 && precision <= maxDecimalDigits && (hasScale || scaleAt == 0) && scale >= 0 && scale <= precision
	if s.Type == Fixed && fits {
		// The largest number of digits that always fits into the bytes.
		fits = s.Size > 0 && precision <= int(float64(8*s.Size-1)*math.Log10(2))
	}
	if !fits {
		delete(o.used, "precision")
		delete(o.used, "scale")
		return false
	}
	s.Precision, s.Scale = precision, scale
	s.most, s.least = decimalRange(precision)
	return true
}

package lint

import (
	"regexp"
	"slices"
	"strings"

	"github.com/runnel-cdc/runnel/internal/words"
	"github.com/runnel-cdc/runnel/schemas"
)

// What a field is called is a hint, no more: these rules warn, and leave out words
// that more often mean something else.

// laterType is added where a fix changes what the field's bytes mean.
const laterType = " A field that is published already keeps its type: add one beside it."

// lower splits a name into words in small letters.
func lower(name string) []string {
	all := words.Split(name)
	for i, w := range all {
		all[i] = strings.ToLower(w)
	}
	return all
}

func set(list string) map[string]bool {
	all := make(map[string]bool)
	for _, w := range strings.Fields(list) {
		all[w] = true
	}
	return all
}

var (
	moneyWords = set(`price amount total subtotal cost fee balance tax vat revenue salary wage fare charge refund deposit
		turnover budget income payout prices amounts totals costs fees balances taxes charges refunds deposits`)
	// noMoney are words beside which those are none.
	noMoney = set(`rate ratio percent percentage pct factor share weight mass count quantity qty number score probability
		index items seconds millis minutes hours days bytes length distance area volume time duration`)
)

func moneyAsFloat(l *linter, s *schemas.Schema, f *schemas.Field) {
	name := lower(f.Name)
	if !slices.ContainsFunc(name, func(w string) bool { return moneyWords[w] }) || slices.ContainsFunc(name, func(w string) bool { return noMoney[w] }) {
		return
	}
	unnamed(f.Type, func(x *schemas.Schema) {
		if x.Type == schemas.Float || x.Type == schemas.Double {
			l.at(spot{s, f, x}, f.Pos, "Write "+typeAttribute(s, f, x, money)+", with the digits that you need."+laterType,
				"is %s, and is called an amount of money", article(x.Type))
		}
	})
}

var (
	// spans are words that make of a time one that passes, or something else.
	spans = set(`lead processing response elapsed run up down cpu wait waiting travel total cook cooking prep preparation
		round half over part full idle busy execution handling cycle reaction transit flight delivery shipping working
		play first last real life zone time`)
	// participles without -ed after which "on" tells a date.
	participles = set(`paid sent sold bought born made built begun done given taken written seen left met won lost kept held closed due`)
	noDate      = set(`based depended focused used`)
)

// timeKind is what a field's name says of its value.
type timeKind int

const (
	noTime timeKind = iota
	aTime
	aDate
)

// timeOf judges by the last word: paid_at, start_time, timestamp; due_date, paid_on.
func timeOf(name string) timeKind {
	all := lower(name)
	if len(all) == 0 {
		return noTime
	}
	last, before := all[len(all)-1], ""
	if len(all) > 1 {
		before = all[len(all)-2]
	}
	switch last {
	case "timestamp", "datetime":
		return aTime
	case "at":
		if before != "" && (strings.HasSuffix(before, "ed") || participles[before]) {
			return aTime
		}
	case "time":
		if before != "" && !spans[before] {
			return aTime
		}
	case "date":
		return aDate
	case "on":
		if before != "" && !noDate[before] && (strings.HasSuffix(before, "ed") || participles[before]) {
			return aDate
		}
	}
	return noTime
}

func timeWithoutLogicalType(l *linter, s *schemas.Schema, f *schemas.Field) {
	kind := timeOf(f.Name)
	if kind == noTime || f.Props["logicalType"] != nil { // ATTRIBUTE_MISPLACED
		return
	}
	by, what := instant, "a time"
	if kind == aDate {
		by, what = day, "a date"
	}
	unnamed(f.Type, func(x *schemas.Schema) {
		if x.Logical != schemas.NoLogical || x.Props["logicalType"] != nil ||
			x.Type != schemas.Int && x.Type != schemas.Long && x.Type != schemas.String && x.Type != schemas.Double {
			return
		}
		l.at(spot{s, f, x}, f.Pos, "Write "+typeAttribute(s, f, x, by)+"."+laterType, "is %s, and is called %s", article(x.Type), what)
	})
}

func uuidAsString(l *linter, s *schemas.Schema, f *schemas.Field) {
	name := lower(f.Name)
	if len(name) == 0 || name[len(name)-1] != "uuid" && name[len(name)-1] != "guid" && !isUUID.MatchString(f.Doc) {
		return
	}
	unnamed(f.Type, func(x *schemas.Schema) {
		if x.Type == schemas.String && x.Logical == schemas.NoLogical && x.Props["logicalType"] == nil {
			l.at(spot{s, f, x}, f.Pos, "Write "+typeAttribute(s, f, x, uuidString)+".", "is a string, and is called a UUID")
		}
	})
}

// isUUID is a doc that says what the value is, not one that mentions UUIDs.
var isUUID = regexp.MustCompile(`(?i)^((an?|the|its|as an?) )?(\S+ )?(uuid|guid)\b`)

// neutral are symbols that stand for what is not known.
var neutral = []string{"UNKNOWN", "UNSPECIFIED", "UNDEFINED", "OTHER", "NONE"}

func enumWithoutDefault(l *linter, s *schemas.Schema) {
	if s.Type != schemas.Enum || s.EnumDefault != "" {
		return
	}
	fix := `Add "UNKNOWN" to the symbols, and "default": "UNKNOWN" to the enum.`
	for _, n := range neutral {
		for _, symbol := range s.Symbols {
			if strings.EqualFold(symbol, n) {
				fix = `Add "default": ` + quoted(symbol) + " to the enum."
				l.atType(s, fix, "is an enum without a default")
				return
			}
		}
	}
	l.atType(s, fix, "is an enum without a default")
}

func nullableWithoutDefault(l *linter, s *schemas.Schema, f *schemas.Field) {
	if f.Default != nil || f.Type.Type != schemas.Union ||
		!slices.ContainsFunc(f.Type.Branches, func(b *schemas.Schema) bool { return b.Type == schemas.Null }) {
		return
	}
	fix := `Add "default": null.`
	if f.Type.Branches[0].Type != schemas.Null {
		fix = `Write "type": ` + typeText(nullable(f.Type), s) + `, "default": null.`
	}
	l.atField(s, f, fix, "may be null and has no default")
}

// unionAmbiguous finds branches that Avro's promotions, names without their
// namespace or plain JSON confuse.
func unionAmbiguous(l *linter, at spot) {
	if at.schema.Type != schemas.Union {
		return
	}
	numbers, texts := "", ""
	byName := make(map[string]string)
	for _, b := range at.schema.Branches {
		name := b.FullName()
		switch b.Type {
		case schemas.Int, schemas.Long, schemas.Float, schemas.Double:
			if numbers != "" {
				l.at(at, at.pos(), keptNumber(numbers, name), "is a union of %s and %s: a number may be read as either", numbers, name)
			}
			numbers = name
		case schemas.String, schemas.Bytes, schemas.Enum:
			switch {
			case texts == "string" && b.Type == schemas.Enum:
				l.at(at, at.pos(), "Put "+name+" before string.", "is a union of string and %s: its symbols in plain JSON are read as strings", name)
			case texts != "" && b.Type != schemas.Enum:
				l.at(at, at.pos(), "Keep one of them, or put each into a field of its own.", "is a union of %s and %s: a text may be read as either", texts, name)
			}
			if b.Type != schemas.Enum {
				texts = name
			}
		}
		if b.Name == "" {
			continue
		}
		if other := byName[b.Name]; other != "" {
			l.at(at, at.pos(), "Name one of them otherwise.", "is a union of %s and %s, which readers tell apart by the name without the namespace", other, name)
		}
		byName[b.Name] = name
	}
}

// keptNumber proposes the type that holds the values of both.
func keptNumber(a, b string) string {
	whole := func(t string) bool { return t == "int" || t == "long" }
	switch {
	case whole(a) && whole(b):
		return "Keep long alone."
	case !whole(a) && !whole(b):
		return "Keep double alone."
	}
	return "Keep double alone; or long, if all values are whole."
}

func recordEmpty(l *linter, s *schemas.Schema) {
	if s.Type == schemas.Record && len(s.Fields) == 0 {
		l.atType(s, "Give it a field, such as when it happened; or use an enum to tell cases apart.", "has no field")
	}
}

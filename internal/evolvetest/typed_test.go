package evolvetest

import (
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/runnel-cdc/runnel/examples/quickstart"
	old "github.com/runnel-cdc/runnel/examples/quickstart/events"
	"github.com/runnel-cdc/runnel/internal/evolvetest/events"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/readerstest/programs"
	"github.com/runnel-cdc/runnel/schemas"
)

// typed is a reader whose types were fixed when the topic had its first version. It
// prints what it makes of each event.
type typed struct {
	name string
	p    *programs.Process
	end  string
	// What it makes of an event of a type that is new, and of one with a symbol that is;
	// "": it reads the enum's default.
	unknown, symbol string
}

// typedReaders builds readers from the topic's schema as it is now, and starts them:
//
//   - Java with classes that Avro's compiler makes of the schema,
//   - Java with classes written by hand, of which the client makes a schema,
//   - Python with the schema itself.
//
// traps is to be called when the topic holds all kinds of events.
func (w *world) typedReaders(run *programs.Runtime) (all []*typed, traps func(*world)) {
	w.t.Helper()
	dir := w.t.TempDir()
	schema := filepath.Join(dir, "order_event.avsc")
	versions := w.versions()
	if err := os.WriteFile(schema, []byte(versions[len(versions)-1].JSON), 0o600); err != nil {
		w.t.Fatal(err)
	}
	sources, classes := filepath.Join(dir, "sources"), filepath.Join(dir, "classes")
	for _, d := range []string{sources, classes} {
		if err := os.Mkdir(d, 0o700); err != nil {
			w.t.Fatal(err)
		}
	}
	run.Compile(w.t, classes, "readers/Generate.java")
	w.finishes(run.JavaProgram("the compiler of schemas", classes, "Generate"), schema, sources)
	generated, err := filepath.Glob(filepath.Join(sources, "*.java"))
	if err != nil {
		w.t.Fatal(err)
	}
	run.Compile(w.t, classes, append(generated, filepath.Join(sources, "runnel/order_event.java"), "readers/Plain.java", "readers/TypedReader.java")...)
	java := func(name, class string) programs.Program { return run.JavaProgram(name, classes, "TypedReader", class) }
	const unknown, symbol = "SchemaSerializationException: Found OrderReturned, expecting union", "SchemaSerializationException: No match for WALLET"
	all = []*typed{
		{name: "typed-java", unknown: unknown},
		{name: "typed-java-by-hand", unknown: unknown, symbol: symbol},
		{name: "typed-python", unknown: "IndexError: list index out of range"},
	}
	for i, program := range []programs.Program{
		java(all[0].name, "runnel.order_event"), java(all[1].name, "Plain$order_event"), run.PythonProgram(all[2].name, "readers/typed.py", schema),
	} {
		r := all[i]
		r.end = filepath.Join(dir, r.name)
		if r.p, err = program.Start(w.t.Context(), w.topic(), r.name, r.end); err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(r.p.Kill)
	}
	return all, func(w *world) {
		w.traps(java("with fields that may be null", "Plain$order_event"), run.PythonProgram("with classes", "readers/typed.py", "record"))
		w.byName(java("Java", "names"), "Not a valid schema field: tracking")
		w.byName(run.PythonProgram("Python", "readers/typed.py", "names"), "KeyError: 'tracking'")
	}
}

// finishes runs a program to its end and returns what it prints.
func (w *world) finishes(program programs.Program, arguments ...string) string {
	w.t.Helper()
	p, err := program.Start(w.t.Context(), arguments...)
	if err == nil {
		err = p.Wait()
	}
	if err != nil {
		w.t.Fatalf("%s: %v\n%s", program.Name, err, p.Text())
	}
	return p.Output()
}

// sees requires what a typed reader printed of the topic's events: each once, an order's
// in order, with the values that the event has by the schemas of the old release.
func (w *world) sees(r *typed, want map[string]string, order map[string][]string) {
	w.t.Helper()
	if err := os.WriteFile(r.end, []byte(fmt.Sprint(len(want))), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := r.p.Wait(); err != nil {
		w.t.Fatalf("%s: %v\n%s", r.name, err, r.p.Text())
	}
	var unknown, symbols, wrong int
	seen, last := make(map[string]bool, len(want)), make(map[string]int)
	for line := range strings.Lines(r.p.Output()) {
		id, got, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		expect, ok := want[id]
		key, expect, _ := strings.Cut(expect, " ")
		switch {
		case strings.HasPrefix(expect, "OrderReturned"):
			expect = "OrderReturned " + r.unknown
			unknown++
		case strings.Contains(expect, "WALLET"):
			if symbols++; r.symbol != "" {
				expect = "OrderPaid " + r.symbol
			} else {
				expect = strings.Replace(expect, "WALLET", "UNKNOWN", 1)
			}
		}
		at := slices.Index(order[key], id)
		if !ok || seen[id] || got != expect || at != last[key] {
			if wrong++; wrong <= 5 {
				w.t.Errorf("%s reads %s as %q, want %q; it is number %d of order %s, after %d", r.name, id, got, expect, at+1, key, last[key])
			}
		}
		seen[id], last[key] = true, at+1
	}
	if len(seen) != len(want) || unknown == 0 || symbols == 0 || wrong > 0 {
		w.t.Errorf("%s has read %d events of %d, %d of them not as they are; %d of the new type, %d with the new symbol", r.name, len(seen), len(want), wrong, unknown, symbols)
	}
}

// asOld tells what a reader built with the old schemas must see of each event, by id,
// behind its order; and the ids of each order in order. Symbols that the old release does
// not know stay as they were written.
func (w *world) asOld() (want map[string]string, order map[string][]string) {
	w.t.Helper()
	catalog, err := schemas.Load(quickstart.Schemas, "schemas")
	if err != nil {
		w.t.Fatal(err)
	}
	versions := make(map[int64]*schemas.TopicSchema)
	for _, v := range w.versions() {
		versions[v.Version] = v
	}
	want, order = make(map[string]string), make(map[string][]string)
	for _, m := range w.messages() {
		id := m.Properties["id"]
		order[m.Key] = append(order[m.Key], id)
		event, data, err := versions[m.SchemaVersion].Split(m.Payload)
		if err != nil {
			w.t.Fatal(err)
		}
		text := ""
		if reader, ok := catalog.Event(event.Name); ok {
			if event.Name == "OrderPaid" {
				reader = events.OrderPaid{}.EventType()
			}
			plan, err := schemas.NewResolver(event.Schema, reader.Schema)
			if err == nil {
				data, err = plan.Append(nil, data)
			}
			if err == nil {
				text, err = describe(event.Name, data)
			}
			if err != nil {
				w.t.Fatal(err)
			}
		}
		want[id] = m.Key + " " + event.Name + " " + text
	}
	return want, order
}

// describe writes an event as the typed readers do; of OrderPaid as the new release has it.
func describe(name string, data []byte) (string, error) {
	text := func(p *string) string {
		if p == nil {
			return "null"
		}
		return *p
	}
	var fields []string
	var err error
	switch name {
	case "OrderPlaced":
		var e old.OrderPlaced
		err = e.DecodeAvro(data)
		city := "null"
		if e.ShipTo != nil {
			city = e.ShipTo.City
		}
		digits := new(big.Int).Set(e.Total.Shift(2).BigInt())
		fields = []string{e.OrderID, fmt.Sprint(len(e.Lines)), digits.String(), e.Currency, city}
	case "OrderPaid":
		var e events.OrderPaid
		err = e.DecodeAvro(data)
		fields = []string{e.OrderID, string(e.Method), text(e.Reference)}
	case "OrderShipped":
		var e old.OrderShipped
		err = e.DecodeAvro(data)
		fields = []string{e.OrderID, e.Carrier, text(e.Tracking)}
	case "OrderCancelled":
		var e old.OrderCancelled
		err = e.DecodeAvro(data)
		fields = []string{e.OrderID, e.Reason}
	}
	return name + "|" + strings.Join(fields, "|"), err
}

// traps requires what docs/messages.md warns of. In Java a class with a default that is
// not null cannot be read at all unless the client is told that fields are not null. In
// Python classes cannot express a union: other events are read as if they were of the
// one class, and some of them without an error.
func (w *world) traps(java, python programs.Program) {
	w.t.Helper()
	end := filepath.Join(w.t.TempDir(), "end")
	if err := os.WriteFile(end, []byte(fmt.Sprint(w.committed())), 0o600); err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(w.finishes(java, w.topic(), "trap-java", end, "nullable")) {
		if !strings.HasSuffix(line, "SchemaSerializationException: Non-null default value for null type: \"EUR\"\n") {
			w.t.Fatalf("%s, Java reads %s", java.Name, line)
		}
	}
	cancelled := 0
	for line := range strings.Lines(w.finishes(python, w.topic(), "trap-python", end)) {
		if strings.HasSuffix(line, " OrderCancelled NoneType\n") {
			cancelled++
		}
	}
	if want := pgtest.Value[int](w.t, w.db, "select count(*)::int from runnel.outbox where event_type = 'OrderCancelled'"); cancelled != want {
		w.t.Errorf("%s, Python reads %d of %d cancellations as nothing, without an error", python.Name, cancelled, want)
	}
	for _, name := range []string{"trap-java", "trap-python"} {
		w.unsubscribe(name)
	}
}

// byName requires what a reader makes of events that it asks for a field by its name,
// with nothing to take if it is not there: gone, of a field that the new release has no
// more; and symbols as they were written.
func (w *world) byName(program programs.Program, gone string) {
	w.t.Helper()
	end := filepath.Join(w.t.TempDir(), "end")
	if err := os.WriteFile(end, []byte(fmt.Sprint(w.committed())), 0o600); err != nil {
		w.t.Fatal(err)
	}
	counts := make(map[string]int)
	for line := range strings.Lines(w.finishes(program, w.topic(), "by-name", end)) {
		_, what, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		counts[what]++
	}
	w.unsubscribe("by-name")
	without := 0
	for _, m := range w.messages() {
		if m.Properties["type"] == "OrderShipped" && m.SchemaVersion > 0 {
			without++
		}
	}
	if got := counts["OrderShipped "+gone]; without == 0 || got != without {
		w.t.Errorf("%s finds the field missing %d times, and %d events have it no more", program.Name, got, without)
	}
	for _, one := range []string{"OrderPaid WALLET", "OrderReturned passed over"} {
		if counts[one] == 0 {
			w.t.Errorf("%s never reads %q", program.Name, one)
		}
	}
}

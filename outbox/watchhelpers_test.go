package outbox_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// shop is a service with a schema of its own, app, whose role is a writer.
type shop struct {
	*box
	conn  *pgx.Conn // as the service's role, with app as its search_path
	admin *pgx.Conn // as the superuser
	slot  string    // of what reads the outbox in commit order
}

func newShop(t testing.TB, ddl string) *shop {
	t.Helper()
	b := newBox(t)
	b.Exec(t, "create schema app authorization "+b.Role("shop"))
	b.Exec(t, "alter role "+b.Role("shop")+" in database "+b.Name()+" set search_path = app")
	s := &shop{box: b, admin: b.Conn(t), slot: b.Slot("fold")}
	s.conn = s.connect(t, nil)
	b.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", s.slot)
	if ddl != "" {
		s.run(t, ddl)
	}
	return s
}

// connect opens another session of the service; notices, if not nil, gets its
// warnings.
func (s *shop) connect(t testing.TB, notices func(*pgconn.Notice)) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(s.writer)
	if err != nil {
		t.Fatal(err)
	}
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if notices != nil {
			notices(n)
		}
	}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (s *shop) run(t testing.TB, sql string, args ...any) {
	t.Helper()
	run(t, s.conn, sql, args...)
}

// refused runs sql and requires a SQLSTATE and a part of message or hint.
func refused(t testing.TB, conn *pgx.Conn, code, text, sql string, args ...any) {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql, args...)
	if got := state(t, err); got != code {
		t.Errorf("%s: %q (%v), want %s", sql, got, err, code)
		return
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || !strings.Contains(pg.Message+" "+pg.Hint, text) {
		t.Errorf("%s: %v, want %q", sql, err, text)
	}
}

// change is an event as the outbox holds it.
type change struct {
	aggregate, id, typ, payload string
}

func (c change) String() string { return c.typ + " " + c.id + " " + c.payload }

// changes returns what was committed to the outbox since the last call, in commit
// order.
func (s *shop) changes(t testing.TB) []change {
	t.Helper()
	rows, err := s.admin.Query(t.Context(), "select data from pg_logical_slot_get_binary_changes('"+s.slot+
		"', null, null, 'proto_version', '1', 'publication_names', 'runnel')")
	if err != nil {
		t.Fatal(err)
	}
	messages, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		t.Fatal(err)
	}
	columns := map[uint32][]string{}
	var all []change
	for _, m := range messages {
		switch m[0] {
		case 'R':
			columns[binary.BigEndian.Uint32(m[1:])] = relationColumns(m[5:])
		case 'I':
			row := tuple(columns[binary.BigEndian.Uint32(m[1:])], m[6:])
			if row["event_type"] == "" {
				continue // runnel.control
			}
			payload := make([]byte, len(row["payload"])/2)
			if _, err := fmt.Sscanf(row["payload"], `\x%x`, &payload); err != nil && row["payload"] != `\x` {
				t.Fatal(err)
			}
			all = append(all, change{row["aggregate_type"], row["aggregate_id"], row["event_type"], string(payload)})
		}
	}
	return all
}

// relationColumns reads what follows the id in a Relation message.
func relationColumns(m []byte) (names []string) {
	for range 2 { // namespace, name
		m = m[bytes.IndexByte(m, 0)+1:]
	}
	m = m[1:] // replica identity
	n := binary.BigEndian.Uint16(m)
	m = m[2:]
	for range n {
		m = m[1:] // flags
		end := bytes.IndexByte(m, 0)
		names = append(names, string(m[:end]))
		m = m[end+1+8:]
	}
	return names
}

// tuple reads TupleData.
func tuple(names []string, m []byte) map[string]string {
	row := map[string]string{}
	m = m[2:]
	for _, name := range names {
		kind := m[0]
		m = m[1:]
		if kind == 't' {
			n := binary.BigEndian.Uint32(m)
			row[name] = string(m[4 : 4+n])
			m = m[4+n:]
		}
	}
	return row
}

// expect compares what was committed since with lines of `<type> <id> <payload>`.
func (s *shop) expect(t testing.TB, want ...string) {
	t.Helper()
	var got []string
	for _, c := range s.changes(t) {
		got = append(got, c.String())
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// catalog is what `gen avsc` gives for a table.
func (s *shop) catalog(t testing.TB, table string, o outbox.TableOptions) *schemas.Catalog {
	t.Helper()
	types, err := outbox.TableSchemas(t.Context(), s.conn, table, o)
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for _, s := range types {
		files[s.Name+".avsc"] = &fstest.MapFile{Data: []byte(s.Definition)}
	}
	catalog, err := schemas.Load(files, ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range types {
		if e, ok := catalog.Event(s.Name); ok != !s.Fingerprint.IsZero() || ok && e.Fingerprint != s.Fingerprint {
			t.Errorf("%s: the database and package schemas disagree about the fingerprint", s.Name)
		}
	}
	return catalog
}

// replica is a local copy, as a consumer would keep it: each row's Avro by
// aggregate id.
type replica map[string]string

// apply folds events into the copy, each through the transcoder of the daemon.
func (r replica) apply(t testing.TB, catalog *schemas.Catalog, changes []change) {
	t.Helper()
	for _, c := range changes {
		event, ok := catalog.Event(c.typ)
		if !ok {
			t.Fatalf("the catalog has no %s", c.typ)
		}
		data, err := schemas.AppendJSONToAvro(nil, event.Schema, []byte(c.payload))
		if err != nil {
			t.Fatalf("the daemon would refuse %s: %v", c, err)
		}
		if strings.HasSuffix(c.typ, "Deleted") {
			delete(r, c.id)
			continue
		}
		var body struct {
			Row json.RawMessage `json:"row"`
		}
		if err := json.Unmarshal([]byte(c.payload), &body); err != nil {
			t.Fatal(err)
		}
		row, err := schemas.AppendJSONToAvro(nil, field(t, event.Schema, "row"), body.Row)
		if err != nil || !bytes.Contains(data, row) {
			t.Fatalf("%s: %v", c, err)
		}
		r[c.id] = string(row)
	}
}

func field(t testing.TB, s *schemas.Schema, name string) *schemas.Schema {
	t.Helper()
	f, ok := s.Field(name)
	if !ok {
		t.Fatalf("%s has no field %s", s.FullName(), name)
	}
	return f.Type
}

// equals compares the copy with the table. id is SQL for the aggregate id, row
// SQL for the row as jsonb; both independent of how the trigger writes them.
func (r replica) equals(t testing.TB, s *shop, catalog *schemas.Catalog, event, table, id, row string) {
	t.Helper()
	if wrong := r.differs(t, s, catalog, event, table, id, row); wrong != "" {
		t.Error(wrong)
	}
}

// differs is equals, which returns what differs.
func (r replica) differs(t testing.TB, s *shop, catalog *schemas.Catalog, event, table, id, row string) string {
	t.Helper()
	e, _ := catalog.Event(event)
	want := map[string]string{}
	rows, err := s.admin.Query(t.Context(), "select "+id+", ("+row+")::text from "+table+" t")
	if err != nil {
		t.Fatal(err)
	}
	var key, text string
	if _, err = pgx.ForEachRow(rows, []any{&key, &text}, func() error {
		data, err := schemas.AppendJSONToAvro(nil, field(t, e.Schema, "row"), []byte(text))
		want[key] = string(data)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var wrong []string
	for id := range want {
		if got, ok := r[id]; !ok {
			wrong = append(wrong, id+" is missing")
		} else if got != want[id] {
			wrong = append(wrong, id+" differs")
		}
	}
	for id := range r {
		if _, ok := want[id]; !ok {
			wrong = append(wrong, id+" should be gone")
		}
	}
	sort.Strings(wrong)
	if len(wrong) == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d rows of %s: %.300s", len(wrong), len(want), table, strings.Join(wrong, ", "))
}

func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

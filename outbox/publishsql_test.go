package outbox_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

func TestSQLPublish(t *testing.T) {
	t.Parallel()
	b := newBox(t, orderPlaced)
	conn := pgtest.Conn(t, b.writer)
	before := time.Now().Add(-time.Second)
	var id uuid.UUID
	const call = "select runnel.publish($1::text, $2::text, $3::text, $4::jsonb, $5::jsonb)"
	if err := conn.QueryRow(t.Context(), call, "order", "42", "OrderPlaced", `{"b": "ü", "a": 1.50}`, `{"k": "v"}`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	made, _ := id.Time().UnixTime()
	if id.Version() != 7 || id.Variant() != uuid.RFC4122 || made < before.Unix() || made > time.Now().Unix()+1 {
		t.Errorf("id %s is no UUIDv7 of now", id)
	}
	row := readOutbox(t, b.DB)[0]
	var payload map[string]any
	if err := json.Unmarshal(row.Payload, &payload); err != nil || payload["b"] != "ü" || row.ID != id || row.Encoding != 2 ||
		row.Fingerprint != nil || row.Headers["k"] != "v" || row.AggregateID != "42" {
		t.Errorf("row %+v, payload %s, %v", row, row.Payload, err)
	}
	for name, tc := range map[string]struct {
		args [5]any
		want string
	}{
		"unknown type":         {[5]any{"order", "1", "OrderPlacd", "{}", "{}"}, "RN001"},
		"other aggregate type": {[5]any{"ordr", "1", "OrderPlaced", "{}", "{}"}, "RN001"},
		"no aggregate id":      {[5]any{"order", "", "OrderPlaced", "{}", "{}"}, "RN004"},
		"null aggregate id":    {[5]any{"order", nil, "OrderPlaced", "{}", "{}"}, "RN004"},
		"null payload":         {[5]any{"order", "1", "OrderPlaced", nil, "{}"}, "RN004"},
		"payload no object":    {[5]any{"order", "1", "OrderPlaced", "[1]", "{}"}, "RN004"},
		"headers no object":    {[5]any{"order", "1", "OrderPlaced", "{}", "[]"}, "23514"},
		"header of a number":   {[5]any{"order", "1", "OrderPlaced", "{}", `{"a": 1}`}, "23514"},
		"header of an array":   {[5]any{"order", "1", "OrderPlaced", "{}", `{"a": ["x"]}`}, "23514"},
		"header of null":       {[5]any{"order", "1", "OrderPlaced", "{}", `{"a": null}`}, "23514"},
		"nested header":        {[5]any{"order", "1", "OrderPlaced", "{}", `{"a": {"b": "c"}}`}, "23514"},
		"reserved header":      {[5]any{"order", "1", "OrderPlaced", "{}", `{"position": "x"}`}, "23514"},
		"nameless header":      {[5]any{"order", "1", "OrderPlaced", "{}", `{"": "x"}`}, "23514"},
	} {
		_, err := conn.Exec(t.Context(), call, tc.args[:]...)
		if got := state(t, err); got != tc.want {
			t.Errorf("%s: %q (%v), want %s", name, got, err, tc.want)
		}
	}
	if n := len(readOutbox(t, b.DB)); n != 1 {
		t.Errorf("%d rows, want the first one only", n)
	}
}

// With nothing registered every type is admitted; from the first on, COPY too
// is checked.
func TestEventTypesOnEveryWayIn(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	conn := pgtest.Conn(t, b.writer)
	copyIn := func(types ...string) error {
		var rows [][]any
		for _, typ := range types {
			rows = append(rows, []any{"order", "1", typ, int16(2), []byte("{}")})
		}
		_, err := conn.CopyFrom(t.Context(), pgx.Identifier{"runnel", "outbox"},
			[]string{"aggregate_type", "aggregate_id", "event_type", "encoding", "payload"}, pgx.CopyFromRows(rows))
		return err
	}
	if err := copyIn("Anything"); err != nil {
		t.Fatal(err)
	}
	if _, err := outbox.RegisterEventTypes(t.Context(), b.Conn(t), []*schemas.EventType{orderPlaced}); err != nil {
		t.Fatal(err)
	}
	if err := copyIn("OrderPlaced", "OrderPlaced"); err != nil {
		t.Error(err)
	}
	if got := state(t, copyIn("OrderPlaced", "Anything")); got != "RN001" {
		t.Errorf("copy of an unknown type: %q", got)
	}
	_, err := conn.Exec(t.Context(), strings.ReplaceAll(insertEvent, "OrderPlaced", "Nothing"))
	if got := state(t, err); got != "RN001" {
		t.Errorf("insert of an unknown type: %v", err)
	}
}

// What the checks of the table refuse, whatever the way in.
func TestTableChecks(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	conn := pgtest.Conn(t, b.writer)
	for name, change := range map[string][2]string{
		"aggregate id":           {"'1'", "''"},
		"aggregate type":         {"'order'", "''"},
		"aggregate type's chars": {"'order'", "'or/der'"},
		"event type":             {"'OrderPlaced'", "'Order Placed'"},
		"encoding":               {"2,", "3,"},
		"avro w/o fingerprint":   {"2,", "1,"},
	} {
		_, err := conn.Exec(t.Context(), strings.Replace(insertEvent, change[0], change[1], 1))
		if got := state(t, err); got != "23514" {
			t.Errorf("%s: %q (%v), want check_violation", name, got, err)
		}
	}
	for _, at := range []string{"infinity", "-infinity", "1969-12-31"} {
		_, err := conn.Exec(t.Context(), "insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload, occurred_at) values ('order', '1', 'A', 2, '{}', $1::text::timestamptz)", at)
		if got := state(t, err); got != "23514" {
			t.Errorf("occurred at %s: %v", at, err)
		}
	}
}

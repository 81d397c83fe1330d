package capture

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/jackc/pglogrepl"
	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/router"
)

// primed is a decoder that knows the outbox (1), the control table (2) and a
// partition (3), which the server announces beside its root.
func primed(t testing.TB) *decoder {
	t.Helper()
	d := newDecoder(era(3), "p")
	var b batcher
	for _, m := range [][]byte{
		relationMessage(1, "outbox", outboxOrder, outboxColumns),
		relationMessage(2, "control", controlOrder, controlColumns),
		relationMessage(3, "outbox_p20260101", outboxOrder, outboxColumns),
	} {
		if err := d.decode(m, &b); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func controlRow(pipeline, kind string) [][]byte {
	return [][]byte{int64Cell(1), []byte(pipeline), []byte(kind), []byte("\x01{}"), int64Cell(1)}
}

func TestDecodeTransaction(t *testing.T) {
	d := primed(t)
	var b batcher
	for i, m := range [][]byte{
		beginMessage(100),
		[]byte("O12345678x\x00"), []byte("Y"), []byte("M"),
		insertMessage(1, sampleRow([]byte("one"))),
		insertMessage(2, controlRow("another", "whatever")), // not ours to obey, not counted
		insertMessage(1, sampleRow([]byte("two"))),
		insertMessage(2, controlRow("p", "release")), // has a position
		insertMessage(1, sampleRow([]byte("three"))),
		commitMessage(100, 148),
	} {
		if err := d.decode(m, &b); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	d.walEnd(150, &b)
	d.walEnd(170, &b)
	in := b.cut().Inputs
	if len(in) != 7 || in[0].Kind != router.Begin || in[5].Kind != router.Commit || in[6].Kind != router.WALEnd {
		t.Fatalf("got %v", in)
	}
	if want := (router.Transaction{Position: position.Position{Epoch: 3, LSN: 100}, XID: 77, Committed: unixMicro(1_000_000)}); in[0].Transaction != want {
		t.Fatalf("got %v, want %v", in[0].Transaction, want)
	}
	for i, payload := range []string{"one", "two", "", "three"} {
		if payload == "" {
			if c := in[1+i].Control; in[1+i].Kind != router.ControlRecord || c.Kind != "release" || string(c.Body) != "{}" || c.Position.Index != uint32(i) {
				t.Fatalf("control %+v", c)
			}
			continue
		}
		e := in[1+i].Event
		if string(e.Payload) != payload || e.Position != (position.Position{Epoch: 3, LSN: 100, Index: uint32(i)}) {
			t.Fatalf("row %d: %s at %s", i, e.Payload, e.Position)
		}
	}
	if in[5].LSN != 148 || in[6].LSN != 170 {
		t.Fatalf("commit ends at %d, WAL at %d", in[5].LSN, in[6].LSN)
	}
}

// TestWALEndWithin: a keepalive within a transaction says nothing.
func TestWALEndWithin(t *testing.T) {
	d := primed(t)
	var b batcher
	if err := d.decode(beginMessage(100), &b); err != nil {
		t.Fatal(err)
	}
	d.walEnd(99, &b)
	if in := b.cut().Inputs; len(in) != 1 {
		t.Fatalf("got %v", in)
	}
}

func TestDecodeRefuses(t *testing.T) {
	row := sampleRow([]byte("x"))
	short := insertMessage(1, row)
	wide := append([][]byte(nil), row...)
	wide[0] = []byte{1, 2, 3}
	text := insertMessage(1, [][]byte{{1}})
	text[8] = 't'
	renamed := append([]string(nil), outboxOrder...)
	columns := map[string]column{"note": {oidText, fieldIgnored}, "payload2": {oidText, fieldIgnored}}
	for name, c := range outboxColumns {
		columns[name] = c
	}
	retyped := map[string]column{}
	for name, c := range outboxColumns {
		retyped[name] = c
	}
	retyped["aggregate_id"] = column{oidInt8, fieldAggregateID}
	for name, c := range map[string]struct {
		m    []byte
		want error
	}{
		"empty":               {nil, ErrStream},
		"unknown":             {[]byte("?"), ErrStream},
		"streaming":           {[]byte("S1234"), ErrStream},
		"update":              {[]byte("U"), ErrPublication},
		"delete":              {[]byte("D"), ErrPublication},
		"truncate":            {[]byte("T"), ErrPublication},
		"begin twice":         {beginMessage(101), ErrStream},
		"commit of another":   {commitMessage(99, 120), ErrStream},
		"short commit":        {[]byte("C0"), ErrStream},
		"truncated":           {short[:len(short)-1], ErrStream},
		"trailing":            {append(append([]byte(nil), short...), 0), ErrStream},
		"fewer columns":       {insertMessage(1, row[1:]), ErrStream},
		"row of a partition":  {insertMessage(3, row), ErrPublication},
		"unannounced":         {insertMessage(9, row), ErrStream},
		"wrong width":         {insertMessage(1, wide), ErrStream},
		"text format":         {text, ErrStream},
		"control of ours":     {insertMessage(2, controlRow("p", "new")), ErrControlUnknown},
		"control truncated":   {insertMessage(2, controlRow("p", "new"))[:30], ErrStream},
		"one more column":     {relationMessage(1, "outbox", append(renamed, "note"), columns), ErrOutboxShape},
		"column missing":      {relationMessage(1, "outbox", outboxOrder[1:], outboxColumns), ErrOutboxShape},
		"column of wrong OID": {relationMessage(1, "outbox", outboxOrder, retyped), ErrOutboxShape},
		"column twice":        {relationMessage(1, "outbox", append(renamed, "id"), outboxColumns), ErrOutboxShape},
		"control grew":        {relationMessage(2, "control", append(append([]string(nil), controlOrder...), "note"), map[string]column{"seq": {20, 0}, "pipeline": {25, 0}, "kind": {25, 0}, "body": {3802, 0}, "inserted_at": {1184, 0}, "note": {25, 0}}), ErrOutboxShape},
		"relation cut":        {relationMessage(1, "outbox", outboxOrder, outboxColumns)[:40], ErrStream},
	} {
		t.Run(name, func(t *testing.T) {
			d := primed(t)
			var b batcher
			if err := d.decode(beginMessage(100), &b); err != nil {
				t.Fatal(err)
			}
			mustCode(t, d.decode(c.m, &b), c.want)
			if in := b.cut().Inputs; len(in) != 1 {
				t.Fatalf("a refused message left %d inputs", len(in)-1)
			}
		})
	}
}

// TestNulls: what a row lacks reads as empty. It is the router that objects.
func TestNulls(t *testing.T) {
	d := primed(t)
	var b batcher
	_ = d.decode(beginMessage(1), &b)
	if err := d.decode(insertMessage(1, make([][]byte, len(outboxOrder))), &b); err != nil {
		t.Fatal(err)
	}
	e := b.last().Event
	e.Position = position.Position{}
	if !reflect.DeepEqual(e, router.Event{}) {
		t.Fatalf("got %v", e)
	}
}

// TestOddValues: values that no writer should produce, and that must not pass
// as others.
func TestOddValues(t *testing.T) {
	d := primed(t)
	var b batcher
	_ = d.decode(beginMessage(1), &b)
	row := sampleRow([]byte("x"))
	row[6] = []byte{1, 1}              // encoding 257
	row[7] = []byte{1, 2}              // a fingerprint of two bytes
	row[10] = int64Cell(math.MaxInt64) // infinity
	if err := d.decode(insertMessage(1, row), &b); err != nil {
		t.Fatal(err)
	}
	e := b.last().Event
	if e.Encoding != 0 || e.Fingerprint != ([32]byte{}) || e.OccurredAt != math.MaxInt64 {
		t.Fatalf("got %v", e)
	}
}

func drawEvent(t *rapid.T) router.Event {
	text := rapid.SliceOfN(rapid.Byte(), 0, 40)
	e := router.Event{
		ID:            [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")),
		Seq:           rapid.Int64().Draw(t, "seq"),
		AggregateType: null(text.Draw(t, "aggregate type")), AggregateID: null(text.Draw(t, "aggregate id")),
		Type: null(text.Draw(t, "type")), Payload: null(text.Draw(t, "payload")), Headers: null(text.Draw(t, "headers")),
		Encoding:   router.Encoding(rapid.IntRange(0, 2).Draw(t, "encoding")),
		OccurredAt: rapid.Int64Range(math.MinInt64+1+postgresEpoch, math.MaxInt64-1).Draw(t, "occurred"),
	}
	if rapid.Bool().Draw(t, "avro") {
		e.Fingerprint = [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "fingerprint"))
	}
	return e
}

// TestRoundTrip: what is encoded comes back, whatever the order of columns.
// pglogrepl is the second opinion on the framing.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		order := rapid.Permutation(outboxOrder).Draw(t, "order")
		d := newDecoder(era(1), "p")
		var b batcher
		if err := d.decode(relationMessage(7, "outbox", order, outboxColumns), &b); err != nil {
			t.Fatal(err)
		}
		if err := d.decode(beginMessage(5), &b); err != nil {
			t.Fatal(err)
		}
		want := drawEvent(t)
		byName := make(map[string][]byte)
		for i, cell := range rowCells(&want) {
			byName[outboxOrder[i]] = cell
		}
		cells := make([][]byte, len(order))
		for i, name := range order {
			cells[i] = byName[name]
		}
		m := insertMessage(7, cells)
		parsed, err := pglogrepl.Parse(m)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range parsed.(*pglogrepl.InsertMessage).Tuple.Columns {
			if !bytes.Equal(c.Data, cells[i]) {
				t.Fatalf("the test encodes column %d wrongly", i)
			}
		}
		if err := d.decode(m, &b); err != nil {
			t.Fatal(err)
		}
		want.Position = position.Position{Epoch: 1, LSN: 5}
		if got := b.last().Event; !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %v\nwant %v", got, want)
		}
	})
}

// FuzzDecode feeds foreign bytes as the messages of one transaction. Nothing
// may panic, add more than one input, or reach beyond the message.
func FuzzDecode(f *testing.F) {
	f.Add(relationMessage(1, "outbox", outboxOrder, outboxColumns))
	f.Add(relationMessage(2, "control", controlOrder, controlColumns))
	f.Add(insertMessage(1, sampleRow([]byte("payload"))))
	f.Add(insertMessage(2, controlRow("p", "k")))
	f.Add(insertMessage(1, make([][]byte, len(outboxOrder))))
	f.Add(commitMessage(100, 120))
	f.Add(beginMessage(100))
	f.Add([]byte("I\x00\x00\x00\x01N\x00\x0db\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, m []byte) {
		for _, inTx := range []bool{false, true} {
			d := primed(t)
			var b batcher
			if inTx {
				if err := d.decode(beginMessage(100), &b); err != nil {
					t.Fatal(err)
				}
			}
			before := b.used
			err := d.decode(m[:len(m):len(m)], &b)
			if added := b.used - before; added > 1 || err != nil && added != 0 {
				t.Fatalf("%d inputs, error %v", added, err)
			}
			if err == nil && len(m) > 0 && m[0] == 'I' && b.last() != nil && b.last().Kind == router.Row {
				if _, err := pglogrepl.Parse(m); err != nil {
					t.Fatalf("accepted what pglogrepl refuses: %v", err)
				}
			}
		}
	})
}

// TestBatcher: slabs are given up after maxBytes, so that a small event does
// not keep large ones alive; and used again once no batch holds them.
func TestBatcher(t *testing.T) {
	var b batcher
	b.next()
	slab := b.slab
	first := b.cut()
	b.next()
	if b.slab != slab {
		t.Fatal("a small batch took a slab of its own")
	}
	b.bytes = maxBytes
	if !b.full() {
		t.Fatal("not full")
	}
	second := b.cut()
	if len(second.Inputs) != 1 || second.Bytes != maxBytes || cap(second.Inputs) != 1 {
		t.Fatalf("got %v", second)
	}
	b.next()
	if b.slab == slab {
		t.Fatal("the slab lives on")
	}
	first.Release()
	if slab.refs.Load() != 1 {
		t.Fatalf("%d hold a slab that one batch holds", slab.refs.Load())
	}
	second.Release()
	if slab.refs.Load() != 0 || second.Inputs[0].Kind != 0 {
		t.Fatal("a slab that nobody holds was not cleared")
	}
	for range maxInputs - 1 {
		b.next()
	}
	if !b.full() || len(b.cut().Inputs) != maxInputs || b.full() || !b.empty() {
		t.Fatal("a full slab is a full batch")
	}
	if fmt.Sprint(b) != fmt.Sprint(batcher{}) {
		t.Fatalf("left: %v", b)
	}
}

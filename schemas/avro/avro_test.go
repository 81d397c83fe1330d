package avro_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/schemas/avro"
)

// TestLong cites the examples of the specification, "Binary encoding".
func TestLong(t *testing.T) {
	for v, want := range map[int64]string{
		0: "\x00", -1: "\x01", 1: "\x02", -2: "\x03", 2: "\x04", -64: "\x7f", 64: "\x80\x01",
		math.MaxInt64: "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", math.MinInt64: "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
	} {
		got := avro.AppendLong(nil, v)
		if string(got) != want {
			t.Errorf("%d: %x, want %x", v, got, want)
		}
		r := avro.NewReader(got)
		if back := r.Long(); back != v || r.Close() != nil {
			t.Errorf("%d came back as %d, %v", v, back, r.Close())
		}
	}
}

func TestScalars(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, i, l := rapid.Bool().Draw(t, "b"), rapid.Int32().Draw(t, "i"), rapid.Int64().Draw(t, "l")
		f, d := rapid.Uint32().Draw(t, "f"), rapid.Uint64().Draw(t, "d") // bits: NaNs too
		s, y := rapid.String().Draw(t, "s"), rapid.SliceOf(rapid.Byte()).Draw(t, "y")
		id := uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		months := avro.Duration{Months: f, Days: f + 1, Millis: f + 2}

		data := avro.AppendInt(avro.AppendLong(avro.AppendBoolean(nil, b), l), i)
		data = avro.AppendDouble(avro.AppendFloat(data, math.Float32frombits(f)), math.Float64frombits(d))
		data, err := avro.AppendString(avro.AppendBytes(data, y), s)
		if err != nil {
			t.Fatal(err)
		}
		data = avro.AppendDuration(avro.AppendUUID(data, id), months)

		r := avro.NewReader(data)
		if r.Boolean() != b || r.Long() != l || r.Int() != i ||
			math.Float32bits(r.Float()) != f || math.Float64bits(r.Double()) != d ||
			!bytes.Equal(r.Bytes(), y) || r.String() != s || r.UUID() != id || r.Duration() != months {
			t.Fatal("came back different")
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		for n := range data { // every prefix is refused
			short := avro.NewReader(data[:n])
			short.Boolean()
			short.Long()
			short.Int()
			short.Float()
			short.Double()
			short.Bytes()
			_ = short.String()
			short.UUID()
			short.Duration()
			if !errors.Is(short.Close(), avro.ErrData) {
				t.Fatalf("%d of %d bytes were accepted", n, len(data))
			}
		}
	})
}

// TestRefused holds bytes that must not pass, each with the reason why.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		data string
		read func(*avro.Reader)
	}{
		"boolean 2":             {"\x02", func(r *avro.Reader) { r.Boolean() }},
		"int too large":         {"\x80\x80\x80\x80\x10", func(r *avro.Reader) { r.Int() }},
		"int padded":            {"\x80\x80\x80\x80\x80\x00", func(r *avro.Reader) { r.Int() }},
		"long of 11 bytes":      {strings.Repeat("\x80", 10) + "\x00", func(r *avro.Reader) { r.Long() }},
		"long of 65 bits":       {strings.Repeat("\xff", 9) + "\x02", func(r *avro.Reader) { r.Long() }},
		"length negative":       {"\x01", func(r *avro.Reader) { r.Bytes() }},
		"length beyond":         {"\x06ab", func(r *avro.Reader) { _ = r.String() }},
		"length 2^62":           {"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", func(r *avro.Reader) { r.Bytes() }},
		"string not UTF-8":      {"\x02\xff", func(r *avro.Reader) { _ = r.String() }},
		"uuid with braces":      {"\x4c{6ba7b810-9dad-11d1-80b4-00c04fd430c8}", func(r *avro.Reader) { r.UUID() }},
		"uuid without hyphens":  {"\x406ba7b8109dad11d180b400c04fd430c8", func(r *avro.Reader) { r.UUID() }},
		"branch 2 of 2":         {"\x04", func(r *avro.Reader) { r.Index(2) }},
		"branch negative":       {"\x01", func(r *avro.Reader) { r.Index(2) }},
		"decimal of no bytes":   {"\x00", func(r *avro.Reader) { r.Decimal(4, 2) }},
		"decimal too precise":   {"\x04\x27\x10", func(r *avro.Reader) { r.Decimal(4, 2) }},
		"decimal of many bytes": {"\x80\x10" + strings.Repeat("\x11", 1024), func(r *avro.Reader) { r.Decimal(4, 2) }},
		"count beyond":          {"\x06\x00\x00", func(r *avro.Reader) { r.Block(1) }},
		"count of zero bytes":   {"\xfe\xff\xff\xff\x0f", func(r *avro.Reader) { r.Block(0) }},
		"count is the minimum":  {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00", func(r *avro.Reader) { r.Block(0) }},
		"block size beyond":     {"\x01\x04\x00", func(r *avro.Reader) { r.Block(1) }},
		"block size negative":   {"\x01\x01\x00", func(r *avro.Reader) { r.Block(1) }},
		"trailing":              {"\x00\x00", func(r *avro.Reader) { r.Long() }},
	} {
		r := avro.NewReader([]byte(c.data))
		c.read(&r)
		if err := r.Close(); !errors.Is(err, avro.ErrData) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEmptyItemsAddUp: many arrays of nothing may not multiply the bound.
func TestEmptyItemsAddUp(t *testing.T) {
	block := avro.AppendLong(nil, avro.MaxReadEmpty/2)
	r := avro.NewReader(bytes.Repeat(block, 3))
	first, second, third := r.Block(0), r.Block(0), r.Block(0)
	if first+second != avro.MaxReadEmpty || third != 0 || !errors.Is(r.Close(), avro.ErrData) {
		t.Error(first, second, third, r.Close())
	}
}

func TestDepth(t *testing.T) {
	r := avro.NewReader(nil)
	for range avro.MaxReadDepth {
		if !r.Enter() {
			t.Fatal("too early")
		}
	}
	if r.Enter() || !errors.Is(r.Close(), avro.ErrData) {
		t.Error("no bound")
	}
	if avro.CheckDepth(avro.MaxAppendDepth-1) != nil || !errors.Is(avro.CheckDepth(avro.MaxAppendDepth), avro.ErrValue) {
		t.Error("no bound on appending")
	}
	if avro.CheckEmptyItems(avro.MaxAppendEmpty) != nil || !errors.Is(avro.CheckEmptyItems(avro.MaxAppendEmpty+1), avro.ErrValue) {
		t.Error("no bound on empty items")
	}
}

func TestPaths(t *testing.T) {
	_, err := avro.AppendString(nil, "\xff")
	err = avro.At(avro.AtIndex(avro.AtKey(avro.At(err, "name"), "a\"b"), 3), "lines")
	if got := fault.Find(err).Where; got != `lines[3]["a\"b"].name` {
		t.Error(got)
	}
	r := avro.NewReader([]byte("\x01"))
	_ = r.String()
	if !r.Failed("name") || !r.FailedKey(strings.Repeat("k", 100)) || !r.FailedIndex(2) || !r.Failed("lines") {
		t.Fatal("not failed")
	}
	if got := fault.Find(r.Close()).Where; got != `lines[2]["`+strings.Repeat("k", 64)+`"].name` {
		t.Error(got)
	}
	other := errors.New("other")
	if got := avro.At(other, "x"); !errors.Is(got, other) || got.Error() != other.Error() {
		t.Error("a foreign error was changed")
	}
}

// FuzzReader reads foreign bytes by a program of foreign operations: nothing
// may panic, hang or return more than the bytes could hold.
func FuzzReader(f *testing.F) {
	f.Add([]byte("\x02\x0ahello\x00"), []byte{6, 5, 1})
	f.Add([]byte("\x06\x00\x00"), []byte{9, 9, 9})
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), []byte{10, 2})
	f.Add([]byte("\x14\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80"), []byte{12})
	f.Fuzz(func(t *testing.T, data, program []byte) {
		r := avro.NewReader(data)
		got, items := 0, 0
		for _, op := range program {
			switch op % 20 {
			case 0:
				r.Boolean()
			case 1:
				r.Int()
			case 2:
				r.Long()
			case 3:
				r.Float()
			case 4:
				r.Double()
			case 5:
				got += len(r.Bytes())
			case 6:
				got += len(r.String())
			case 7:
				r.Fixed(make([]byte, 4))
			case 8:
				if i := r.Index(3); i < -1 || i > 2 {
					t.Fatal(i)
				}
			case 9:
				if n := r.Block(1); n < 0 || n > len(data) {
					t.Fatal(n)
				}
			case 10:
				items += r.Block(0)
			case 11:
				if r.Enter() {
					r.Leave()
				}
			case 12:
				if d := r.Decimal(30, 4); d.NumDigits() > 30 {
					t.Fatal(d)
				}
			case 13:
				r.DecimalFixed(5, 2, 3)
			case 14:
				r.UUID()
			case 15:
				r.Date()
			case 16:
				r.TimestampMicros()
			case 17:
				if d := r.TimeMillis(); d < 0 || d >= 24*time.Hour {
					t.Fatal(d)
				}
			case 18:
				r.Duration()
			case 19:
				r.TimestampNanos()
			}
			r.Failed("x")
		}
		if got > len(data) || items > avro.MaxReadEmpty {
			t.Fatal(got, items)
		}
		if err := r.Close(); err != nil && !errors.Is(err, avro.ErrData) {
			t.Fatal(err)
		}
	})
}

package avro_test

import (
	"bytes"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"
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

func TestInstants(t *testing.T) {
	for _, c := range []struct {
		unit   time.Duration
		append func([]byte, time.Time) ([]byte, error)
		local  func([]byte, time.Time) ([]byte, error)
		read   func(*avro.Reader) time.Time
	}{
		{time.Millisecond, avro.AppendTimestampMillis, avro.AppendLocalTimestampMillis, (*avro.Reader).TimestampMillis},
		{time.Microsecond, avro.AppendTimestampMicros, avro.AppendLocalTimestampMicros, (*avro.Reader).TimestampMicros},
		{time.Nanosecond, avro.AppendTimestampNanos, avro.AppendLocalTimestampNanos, (*avro.Reader).TimestampNanos},
	} {
		t.Run(c.unit.String(), rapid.MakeCheck(func(t *rapid.T) {
			// Every long is an instant, and comes back as itself.
			v := rapid.Int64().Draw(t, "v")
			data := avro.AppendLong(nil, v)
			r := avro.NewReader(data)
			at := c.read(&r)
			back, err := c.append(nil, at)
			if err != nil || r.Close() != nil || !bytes.Equal(back, data) {
				t.Fatalf("%d is %v is %x, %v", v, at, back, err)
			}
			// What is finer is cut off towards the past.
			finer, err := c.append(nil, at.Add(c.unit-1))
			if err != nil || !bytes.Equal(finer, data) {
				t.Fatalf("%v: %x, want %x, %v", at.Add(c.unit-1), finer, data, err)
			}
			// A local timestamp is what the clock on the wall shows.
			zone := time.FixedZone("", rapid.IntRange(-43200, 43200).Draw(t, "zone"))
			y, m, d := at.Date()
			if y > 0 && y < 9999 && c.unit > 1 {
				h, min, s := at.Clock()
				wall, err := c.local(nil, time.Date(y, m, d, h, min, s, at.Nanosecond(), zone))
				if err != nil || !bytes.Equal(wall, data) {
					t.Fatalf("local %v: %x, want %x, %v", at, wall, data, err)
				}
			}
		}))
	}
}

func TestInstantExtremes(t *testing.T) {
	for _, v := range []int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, math.MaxInt64 - 1, math.MaxInt64} {
		data := avro.AppendLong(nil, v)
		r := avro.NewReader(data)
		at := r.TimestampNanos()
		if back, err := avro.AppendTimestampNanos(nil, at); err != nil || !bytes.Equal(back, data) {
			t.Errorf("%d is %v is %x, %v", v, at, back, err)
		}
		if _, err := avro.AppendTimestampNanos(nil, at.Add(time.Second)); v > math.MaxInt64-2 && err == nil {
			t.Errorf("a second after the last was accepted")
		}
		if _, err := avro.AppendTimestampNanos(nil, at.Add(-time.Second)); v < math.MinInt64+2 && err == nil {
			t.Errorf("a second before the first was accepted")
		}
	}
	if _, err := avro.AppendTimestampNanos(nil, time.Time{}); !errors.Is(err, avro.ErrValue) {
		t.Errorf("the year 1 in nanoseconds: %v", err)
	}
	if _, err := avro.AppendDate(nil, time.Unix(math.MaxInt32*86400+86400, 0)); !errors.Is(err, avro.ErrValue) {
		t.Errorf("a date beyond an int: %v", err)
	}
}

func TestDate(t *testing.T) {
	tokyo := time.FixedZone("JST", 9*3600)
	data, err := avro.AppendDate(nil, time.Date(1969, 12, 31, 3, 0, 0, 0, tokyo)) // 30 December in UTC
	if err != nil || string(data) != "\x01" {
		t.Fatalf("%x, %v", data, err)
	}
	r := avro.NewReader(data)
	if got := r.Date(); got != time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC) {
		t.Error(got)
	}
}

func TestTimeOfDay(t *testing.T) {
	for _, d := range []time.Duration{-1, 24 * time.Hour} {
		if _, err := avro.AppendTimeMicros(nil, d); !errors.Is(err, avro.ErrValue) {
			t.Errorf("%v: %v", d, err)
		}
		r := avro.NewReader(avro.AppendLong(nil, int64(d)))
		if r.TimeMillis(); !errors.Is(r.Close(), avro.ErrData) {
			t.Errorf("%v: %v", d, r.Close())
		}
	}
	last := 24*time.Hour - time.Microsecond
	data, err := avro.AppendTimeMicros(nil, last+999)
	r := avro.NewReader(data)
	if got := r.TimeMicros(); err != nil || got != last {
		t.Errorf("%v, %v", got, err)
	}
}

func TestDecimalExact(t *testing.T) {
	for _, c := range []struct {
		value            string
		precision, scale int
		want             string // unscaled, in hex; "" when it does not fit
	}{
		{"0", 4, 2, "00"},
		{"1.27", 4, 2, "7f"},
		{"1.28", 4, 2, "0080"},
		{"-1.28", 4, 2, "80"},
		{"-1.29", 4, 2, "ff7f"},
		{"1.5", 4, 2, "0096"},    // 150: zeros are added
		{"1.5000", 4, 2, "0096"}, // and removed
		{"15e-1", 4, 2, "0096"},  //
		{"1e1", 4, 2, "03e8"},    // 1000
		{"1e2", 4, 2, ""},        // 5 digits
		{"1.501", 4, 2, ""},      // never rounded
		{"99.99", 4, 2, "270f"},  //
		{"100.00", 4, 2, ""},     //
		{"9223372036854775807", 19, 0, "7fffffffffffffff"},
		{"9223372036854775808", 19, 0, "008000000000000000"},
		{"-9223372036854775808", 19, 0, "8000000000000000"},
		{"-9223372036854775809", 19, 0, "ff7fffffffffffffff"},
		{"123456789012345678901234567890.12", 32, 2, "009bd30a3c645943dd1690a03a14"},
		{"123456789012345678901234567890.123", 33, 2, ""},
	} {
		v := decimal.RequireFromString(c.value)
		got, err := avro.AppendDecimal(nil, v, c.precision, c.scale)
		if c.want == "" {
			if !errors.Is(err, avro.ErrValue) {
				t.Errorf("%s in (%d,%d): %x, %v", c.value, c.precision, c.scale, got, err)
			}
			continue
		}
		want, _ := new(big.Int).SetString(c.want, 16)
		unscaled := append(make([]byte, len(c.want)/2-len(want.Bytes())), want.Bytes()...)
		if err != nil || !bytes.Equal(got, avro.AppendBytes(nil, unscaled)) {
			t.Errorf("%s in (%d,%d): %x, want %s; %v", c.value, c.precision, c.scale, got, c.want, err)
		}
		r := avro.NewReader(got)
		if back := r.Decimal(c.precision, c.scale); !back.Equal(v) || back.Exponent() != int32(-c.scale) || r.Close() != nil {
			t.Errorf("%s came back as %v, %v", c.value, back, r.Close())
		}
	}
}

// TestDecimalHostile: an exponent costs no time, and a zero is a zero.
func TestDecimalHostile(t *testing.T) {
	for _, exp := range []int32{math.MaxInt32, math.MinInt32} {
		if _, err := avro.AppendDecimal(nil, decimal.New(1, exp), 9, 2); !errors.Is(err, avro.ErrValue) {
			t.Error(err)
		}
		if got, err := avro.AppendDecimal(nil, decimal.New(0, exp), 9, 2); err != nil || string(got) != "\x02\x00" {
			t.Errorf("%x, %v", got, err)
		}
	}
	if got, err := avro.AppendDecimal(nil, decimal.Decimal{}, 9, 2); err != nil || string(got) != "\x02\x00" {
		t.Errorf("%x, %v", got, err)
	}
}

// TestDecimalOracle compares with arithmetic on strings of digits.
func TestDecimalOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.StringMatching(`-?[0-9]{1,40}`).Draw(t, "digits")
		exp := rapid.Int32Range(-45, 10).Draw(t, "exp")
		precision := rapid.IntRange(1, 45).Draw(t, "precision")
		scale := rapid.IntRange(0, precision).Draw(t, "scale")
		coefficient, _ := new(big.Int).SetString(digits, 10)
		v := decimal.NewFromBigInt(coefficient, exp)

		rat := new(big.Rat).Mul(v.Rat(), new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)))
		fits := rat.IsInt() && len(strings.TrimPrefix(rat.Num().String(), "-")) <= precision
		got, err := avro.AppendDecimal(nil, v, precision, scale)
		if (err == nil) != fits {
			t.Fatalf("%v in (%d,%d): %v", v, precision, scale, err)
		}
		size := precision/2 + 1 // always enough
		fixed, fixedErr := avro.AppendDecimalFixed(nil, v, precision, scale, size)
		if (fixedErr == nil) != fits || fits && len(fixed) != size {
			t.Fatalf("fixed: %x, %v", fixed, fixedErr)
		}
		if !fits {
			return
		}
		r, rf := avro.NewReader(got), avro.NewReader(fixed)
		if back := r.Decimal(precision, scale); !back.Equal(v) || r.Close() != nil {
			t.Fatalf("%v came back as %v: %v", v, back, r.Close())
		}
		if back := rf.DecimalFixed(precision, scale, size); !back.Equal(v) || rf.Close() != nil {
			t.Fatalf("%v came back from a fixed as %v: %v", v, back, rf.Close())
		}
		// Fewest bytes: one less would lose the value.
		if n := len(got) - 1; n > 1 && (got[1] == 0 && got[2] < 0x80 || got[1] == 0xff && got[2] >= 0x80) {
			t.Fatalf("%v has padding: %x", v, got)
		}
	})
}

func TestDecimalFixedTooSmall(t *testing.T) {
	if _, err := avro.AppendDecimalFixed(nil, decimal.New(128, 0), 3, 0, 1); !errors.Is(err, avro.ErrValue) {
		t.Error(err)
	}
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

func TestDecimalPadding(t *testing.T) {
	for data, want := range map[string]int64{"\x06\x00\x00\x05": 5, "\x06\xff\xff\xfe": -2, "\x14\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80": 128} {
		r := avro.NewReader([]byte(data))
		if got := r.Decimal(3, 0); !got.Equal(decimal.New(want, 0)) || r.Close() != nil {
			t.Errorf("%x: %v, %v", data, got, r.Close())
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

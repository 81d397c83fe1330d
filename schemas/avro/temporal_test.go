package avro_test

import (
	"bytes"
	"errors"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/schemas/avro"
)

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

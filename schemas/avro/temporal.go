package avro

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/google/uuid"
)

// An instant or a time of day finer than its schema's unit is cut off, towards
// the past: clocks are finer than most schemas, and an event must not fail for
// it. One outside the range of the schema is refused.

// Duration is the value of Avro's duration: three independent, unsigned parts.
// A month has no fixed length, so it is not a time.Duration.
type Duration struct {
	Months, Days, Millis uint32
}

const day = 24 * time.Hour

// AppendDate appends the calendar day of t, as t's own location shows it.
func AppendDate(dst []byte, t time.Time) ([]byte, error) {
	days, _ := divmod(wall(t).Unix(), 86400)
	if days != int64(int32(days)) {
		return dst, ErrValue.New("the year %d is outside the range of a date", t.Year())
	}
	return AppendLong(dst, days), nil
}

// Date reads a date as midnight, UTC.
func (r *Reader) Date() time.Time {
	days := r.Int()
	if r.err != nil {
		return time.Time{}
	}
	return time.Unix(int64(days)*86400, 0).UTC()
}

// AppendTimestampMillis appends the instant t in milliseconds.
func AppendTimestampMillis(dst []byte, t time.Time) ([]byte, error) {
	return appendInstant(dst, t, time.Millisecond)
}

// AppendTimestampMicros appends the instant t in microseconds.
func AppendTimestampMicros(dst []byte, t time.Time) ([]byte, error) {
	return appendInstant(dst, t, time.Microsecond)
}

// AppendTimestampNanos appends the instant t in nanoseconds; the years 1678 to
// 2262 fit.
func AppendTimestampNanos(dst []byte, t time.Time) ([]byte, error) {
	return appendInstant(dst, t, time.Nanosecond)
}

// AppendLocalTimestampMillis appends the date and time of day of t, as t's own
// location shows them.
func AppendLocalTimestampMillis(dst []byte, t time.Time) ([]byte, error) {
	return appendInstant(dst, wall(t), time.Millisecond)
}

// AppendLocalTimestampMicros is AppendLocalTimestampMillis in microseconds.
func AppendLocalTimestampMicros(dst []byte, t time.Time) ([]byte, error) {
	return appendInstant(dst, wall(t), time.Microsecond)
}

// AppendLocalTimestampNanos is AppendLocalTimestampMillis in nanoseconds.
func AppendLocalTimestampNanos(dst []byte, t time.Time) ([]byte, error) {
	return appendInstant(dst, wall(t), time.Nanosecond)
}

// TimestampMillis reads an instant, in UTC. A local timestamp is read the same
// way: its date and time of day are those of the result.
func (r *Reader) TimestampMillis() time.Time { return r.instant(time.Millisecond) }

// TimestampMicros is TimestampMillis in microseconds.
func (r *Reader) TimestampMicros() time.Time { return r.instant(time.Microsecond) }

// TimestampNanos is TimestampMillis in nanoseconds.
func (r *Reader) TimestampNanos() time.Time { return r.instant(time.Nanosecond) }

// AppendTimeMillis appends a time of day, 0 <= d < 24h, in milliseconds.
func AppendTimeMillis(dst []byte, d time.Duration) ([]byte, error) {
	return appendTimeOfDay(dst, d, time.Millisecond)
}

// AppendTimeMicros appends a time of day, 0 <= d < 24h, in microseconds.
func AppendTimeMicros(dst []byte, d time.Duration) ([]byte, error) {
	return appendTimeOfDay(dst, d, time.Microsecond)
}

// TimeMillis reads a time of day.
func (r *Reader) TimeMillis() time.Duration {
	return r.timeOfDay(int64(r.Int()), time.Millisecond)
}

// TimeMicros reads a time of day.
func (r *Reader) TimeMicros() time.Duration { return r.timeOfDay(r.Long(), time.Microsecond) }

// AppendUUID appends id as an Avro string, in lower case with hyphens.
func AppendUUID(dst []byte, id uuid.UUID) []byte {
	const hex = "0123456789abcdef"
	dst = AppendLong(dst, 36)
	for i, b := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = append(dst, hex[b>>4], hex[b&15])
	}
	return dst
}

// UUID reads a uuid on a string: 36 characters, in either case.
func (r *Reader) UUID() uuid.UUID {
	b := r.chunk()
	if r.err != nil {
		return uuid.Nil
	}
	// ParseBytes also takes braces and urn:uuid:, which Avro does not have.
	if id, err := uuid.ParseBytes(b); err == nil && len(b) == 36 {
		return id
	}
	r.fail("a uuid of %d bytes that does not have the form of one", len(b))
	return uuid.Nil
}

// AppendDuration appends d as an Avro duration, a fixed of 12 bytes.
func AppendDuration(dst []byte, d Duration) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, d.Months)
	dst = binary.LittleEndian.AppendUint32(dst, d.Days)
	return binary.LittleEndian.AppendUint32(dst, d.Millis)
}

// Duration reads an Avro duration.
func (r *Reader) Duration() Duration {
	b := r.take(12)
	if b == nil {
		return Duration{}
	}
	return Duration{
		Months: binary.LittleEndian.Uint32(b),
		Days:   binary.LittleEndian.Uint32(b[4:]),
		Millis: binary.LittleEndian.Uint32(b[8:]),
	}
}

// wall returns the instant at which UTC shows what t's own location shows.
func wall(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.Add(time.Duration(offset) * time.Second).UTC()
}

func appendInstant(dst []byte, t time.Time, unit time.Duration) ([]byte, error) {
	perSecond := int64(time.Second / unit)
	seconds, part := t.Unix(), int64(t.Nanosecond())/int64(unit)
	negative := seconds < 0
	if negative { // both parts on one side of zero, so that a sum too large shows by its sign
		seconds, part = seconds+1, part-perSecond
	}
	v := seconds*perSecond + part
	if seconds > math.MaxInt64/perSecond || seconds < math.MinInt64/perSecond || (v < 0) != negative {
		return dst, ErrValue.New("the year %d is outside the range of a timestamp in %v", t.Year(), unit)
	}
	return AppendLong(dst, v), nil
}

func (r *Reader) instant(unit time.Duration) time.Time {
	v := r.Long()
	if r.err != nil {
		return time.Time{}
	}
	seconds, part := divmod(v, int64(time.Second/unit))
	return time.Unix(seconds, part*int64(unit)).UTC()
}

func appendTimeOfDay(dst []byte, d, unit time.Duration) ([]byte, error) {
	if d < 0 || d >= day {
		return dst, ErrValue.New("%v is not a time of day; 0 <= d < 24h", d)
	}
	return AppendLong(dst, int64(d/unit)), nil
}

func (r *Reader) timeOfDay(v int64, unit time.Duration) time.Duration {
	if v < 0 || v >= int64(day/unit) {
		r.fail("%d is not a time of day in %v", v, unit)
		return 0
	}
	return time.Duration(v) * unit
}

// divmod divides towards the past: the remainder is never negative.
func divmod(v, m int64) (quotient, remainder int64) {
	quotient, remainder = v/m, v%m
	if remainder < 0 {
		quotient, remainder = quotient-1, remainder+m
	}
	return quotient, remainder
}

package schemas

import (
	"bytes"
	"math"
)

// Dates and times as text: RFC 3339, of the proleptic Gregorian calendar. What
// Postgres writes beyond it is read too: years of more digits, a "BC" at the
// end, zones with seconds or without minutes. It is not written: values outside
// the years 0000 to 9999 stay numbers. Written here because time.Parse admits
// other forms, and because it is on the path of every JSON event.

// The values of a time of day are below these.
const (
	millisPerDay = 86_400_000
	microsPerDay = 86_400_000_000
)

// number2 and number4 read fixed numbers of digits; -1 when they are none.
func number2(b []byte) int {
	if len(b) < 2 || b[0]-'0' > 9 || b[1]-'0' > 9 {
		return -1
	}
	return int(b[0]-'0')*10 + int(b[1]-'0')
}

func number4(b []byte) int {
	if len(b) < 4 {
		return -1
	}
	high, low := number2(b), number2(b[2:])
	if high < 0 || low < 0 {
		return -1
	}
	return high*100 + low
}

// maxYearDigits bounds years; Postgres' last is 5874897.
const maxYearDigits = 7

// parseDate reads YYYY-MM-DD, of years before Christ where bc is true, and
// returns days since 1970-01-01 and what follows.
func parseDate(b []byte, bc bool) (days int64, rest []byte, ok bool) {
	y, n := number4(b), 4
	for y >= 0 && n < len(b) && n < maxYearDigits && b[n]-'0' <= 9 {
		y, n = y*10+int(b[n]-'0'), n+1
	}
	if y < 0 || len(b) < n+6 || b[n] != '-' || b[n+3] != '-' || n > 4 && b[0] == '0' {
		return 0, nil, false
	}
	if bc {
		if y == 0 {
			return 0, nil, false
		}
		y = 1 - y // the year before 1 is 1 BC
	}
	m, d := number2(b[n+1:]), number2(b[n+4:])
	if m < 1 || m > 12 || d < 1 || d > daysIn(y, m) {
		return 0, nil, false
	}
	return daysFromCivil(y, m, d), b[n+6:], true
}

// cutEra removes the end of a date before Christ, as Postgres writes it.
func cutEra(b []byte) (rest []byte, bc bool) { return bytes.CutSuffix(b, []byte(" BC")) }

func daysIn(y, m int) int {
	switch m {
	case 2:
		if y%4 == 0 && (y%100 != 0 || y%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// daysFromCivil counts in eras of 400 years that begin in March, so that the
// leap day is the last of its year.
func daysFromCivil(y, m, d int) int64 {
	if m <= 2 {
		y--
		m += 12
	}
	era := floorDiv(int64(y), 400)
	yearOfEra := int64(y) - era*400
	dayOfYear := int64((153*(m-3)+2)/5 + d - 1)
	return era*146097 + yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear - 719468
}

func civilFromDays(days int64) (y, m, d int) {
	days += 719468
	era := floorDiv(days, 146097)
	dayOfEra := days - era*146097
	yearOfEra := (dayOfEra - dayOfEra/1460 + dayOfEra/36524 - dayOfEra/146096) / 365
	dayOfYear := dayOfEra - (365*yearOfEra + yearOfEra/4 - yearOfEra/100)
	month := (5*dayOfYear + 2) / 153
	y, m, d = int(yearOfEra+era*400), int(month)+3, int(dayOfYear-(153*month+2)/5)+1
	if m > 12 {
		y, m = y+1, m-12
	}
	return y, m, d
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// parseTime reads HH:MM:SS[.fraction] and returns what follows. Digits beyond
// nanoseconds are cut off.
func parseTime(b []byte) (seconds int64, nanos int64, rest []byte, ok bool) {
	if len(b) < 8 || b[2] != ':' || b[5] != ':' {
		return 0, 0, nil, false
	}
	h, m, s := number2(b), number2(b[3:]), number2(b[6:])
	if h < 0 || h > 23 || m < 0 || m > 59 || s < 0 || s > 59 {
		return 0, 0, nil, false
	}
	seconds, b = int64(h*3600+m*60+s), b[8:]
	if len(b) > 0 && b[0] == '.' {
		i, unit := 1, int64(100_000_000)
		for ; i < len(b) && b[i]-'0' <= 9; i++ {
			nanos += int64(b[i]-'0') * unit
			unit /= 10
		}
		if i == 1 {
			return 0, 0, nil, false
		}
		b = b[i:]
	}
	return seconds, nanos, b, true
}

// parseTimestamp reads a date, T or a blank, and a time; zone says whether an
// offset must end it, or must not be there.
func parseTimestamp(b []byte, zone bool) (seconds, nanos int64, ok bool) {
	b, bc := cutEra(b)
	days, b, ok := parseDate(b, bc)
	if !ok || len(b) == 0 || b[0] != 'T' && b[0] != 't' && b[0] != ' ' {
		return 0, 0, false
	}
	seconds, nanos, b, ok = parseTime(b[1:])
	if !ok {
		return 0, 0, false
	}
	seconds += days * 86400
	if !zone {
		return seconds, nanos, len(b) == 0
	}
	offset, ok := parseZone(b)
	return seconds - offset, nanos, ok
}

// parseZone reads Z, or the offset from UTC: +hh:mm, +hh:mm:ss or +hh.
func parseZone(b []byte) (seconds int64, ok bool) {
	if len(b) == 1 {
		return 0, b[0]|0x20 == 'z'
	}
	if len(b) < 3 || len(b) > 9 || len(b)%3 != 0 || b[0] != '+' && b[0] != '-' {
		return 0, false
	}
	h := number2(b[1:])
	if h < 0 || h > 23 {
		return 0, false
	}
	seconds = int64(h * 3600)
	for i, unit := 3, int64(60); i < len(b); i, unit = i+3, unit/60 {
		n := number2(b[i+1:])
		if b[i] != ':' || n < 0 || n > 59 {
			return 0, false
		}
		seconds += int64(n) * unit
	}
	if b[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

// unitsPerSecond is the resolution of a time or timestamp type, 0 for others.
func (l Logical) unitsPerSecond() int64 {
	switch l {
	case TimeMillis, TimestampMillis, LocalTimestampMillis:
		return 1e3
	case TimeMicros, TimestampMicros, LocalTimestampMicros:
		return 1e6
	case TimestampNanos, LocalTimestampNanos:
		return 1e9
	}
	return 0
}

func (l Logical) isTimeOfDay() bool { return l == TimeMillis || l == TimeMicros }

func (l Logical) isLocal() bool {
	return l == LocalTimestampMillis || l == LocalTimestampMicros || l == LocalTimestampNanos
}

// parseTemporal reads the text of a date, a time or a timestamp of type l. Finer
// digits than l holds are cut off, towards the past.
func (l Logical) parseTemporal(b []byte) (int64, bool) {
	if l == Date {
		b, bc := cutEra(b)
		days, rest, ok := parseDate(b, bc)
		return days, ok && len(rest) == 0
	}
	units := l.unitsPerSecond()
	if l.isTimeOfDay() {
		seconds, nanos, rest, ok := parseTime(b)
		return seconds*units + nanos/(1e9/units), ok && len(rest) == 0
	}
	seconds, nanos, ok := parseTimestamp(b, !l.isLocal())
	if !ok || seconds > math.MaxInt64/units-1 || seconds < math.MinInt64/units+1 {
		return 0, false
	}
	return seconds*units + nanos/(1e9/units), true
}

// appendTemporal appends n of type l as text; false, and nothing, when it is
// outside what the text can say.
func (l Logical) appendTemporal(dst []byte, n int64) ([]byte, bool) {
	units := l.unitsPerSecond()
	if l == Date {
		return appendDate(dst, n)
	}
	seconds := floorDiv(n, units)
	fraction := n - seconds*units
	days := floorDiv(seconds, 86400)
	if l.isTimeOfDay() && days != 0 {
		return dst, false
	}
	if !l.isTimeOfDay() {
		var ok bool
		if dst, ok = appendDate(dst, days); !ok {
			return dst, false
		}
		dst = append(dst, 'T')
	}
	seconds -= days * 86400
	dst = append(appendDigits(dst, seconds/3600, 10), ':')
	dst = append(appendDigits(dst, seconds/60%60, 10), ':')
	dst = appendDigits(dst, seconds%60, 10)
	if fraction > 0 {
		dst = appendDigits(append(dst, '.'), fraction, units/10)
	}
	if !l.isTimeOfDay() && !l.isLocal() {
		dst = append(dst, 'Z')
	}
	return dst, true
}

func appendDate(dst []byte, days int64) ([]byte, bool) {
	if days < -719528 || days > 2932896 { // years 0000 to 9999
		return dst, false
	}
	y, m, d := civilFromDays(days)
	dst = append(appendDigits(dst, int64(y), 1000), '-')
	dst = append(appendDigits(dst, int64(m), 10), '-')
	return appendDigits(dst, int64(d), 10), true
}

// appendDigits appends n with leading zeros; first is the weight of the first
// digit.
func appendDigits(dst []byte, n, first int64) []byte {
	for ; first > 0; first /= 10 {
		dst = append(dst, byte('0'+n/first%10))
	}
	return dst
}

package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

var sizeUnits = []struct {
	name  string
	bytes int64
}{ // binary units from large to small first: FormatSize takes the first that divides
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
}

var errSize = errors.New("want a size such as 32MiB, 500kB or 4096")

// ParseSize reads a number of bytes: digits with an optional unit (B, kB, MB,
// GB, TB, KiB, MiB, GiB, TiB).
func ParseSize(text string) (int64, error) {
	digits := strings.TrimRight(text, "BKMGTibk ")
	unit := strings.TrimSpace(text[len(digits):])
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || digits[0] == '+' {
		return 0, errSize
	}
	if unit == "" {
		return n, nil
	}
	for _, u := range sizeUnits {
		if u.name == unit {
			if n > math.MaxInt64/u.bytes {
				return 0, errSize
			}
			return n * u.bytes, nil
		}
	}
	return 0, errSize
}

// FormatSize writes n bytes exactly, in the largest binary unit that divides.
func FormatSize(n int64) string {
	for _, u := range sizeUnits[:4] {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// RoundSize writes n bytes for people, to a tenth of the largest binary unit.
func RoundSize(n int64) string {
	for _, u := range []struct {
		name  string
		bytes int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.bytes && n%u.bytes != 0 {
			return fmt.Sprintf("%.1f%s", float64(n)/float64(u.bytes), u.name)
		}
	}
	return FormatSize(n)
}

const day = 24 * time.Hour

var errDuration = errors.New("want a duration such as 60s, 1h30m, 7d or 2w")

// ParseDuration reads what time.ParseDuration reads, preceded by weeks (w) and
// days (d) as whole numbers: 7d, 1w2d, 1d12h. It must not be negative.
func ParseDuration(text string) (time.Duration, error) {
	var total time.Duration
	rest := text
	for _, u := range []struct {
		letter byte
		length time.Duration
	}{{'w', 7 * day}, {'d', day}} {
		i := strings.IndexByte(rest, u.letter)
		if i < 0 {
			continue
		}
		n, err := strconv.ParseUint(rest[:i], 10, 32)
		if err != nil || time.Duration(n) > math.MaxInt64/u.length {
			return 0, errDuration
		}
		add := time.Duration(n) * u.length
		if total > math.MaxInt64-add {
			return 0, errDuration
		}
		total += add
		if rest = rest[i+1:]; rest == "" {
			return total, nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || strings.HasPrefix(rest, "-") || total > math.MaxInt64-d {
		return 0, errDuration
	}
	return total + d, nil
}

// FormatDuration writes d exactly, days first: 7d, 1d12h, 90s, 1h30m.
func FormatDuration(d time.Duration) string {
	if d == Forever {
		return "forever"
	}
	if d < 0 || d < day {
		return formatClock(d)
	}
	text := fmt.Sprintf("%dd", d/day)
	if d %= day; d > 0 {
		text += formatClock(d)
	}
	return text
}

// formatClock drops the zero units that Duration.String appends.
func formatClock(d time.Duration) string {
	if d > time.Minute && d <= 2*time.Minute && d%time.Second == 0 || d == time.Minute {
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

package doctor

import (
	"fmt"
	"time"

	"github.com/runnel-cdc/runnel/internal/config"
)

// FormatBytes writes a number of bytes for people, rounded.
func FormatBytes(n int64) string {
	for _, u := range []struct {
		name  string
		bytes int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.bytes {
			if n%u.bytes == 0 {
				return config.FormatSize(n / u.bytes * u.bytes)
			}
			return fmt.Sprintf("%.1f%s", float64(n)/float64(u.bytes), u.name)
		}
	}
	return config.FormatSize(n)
}

// FormatAge writes how long ago t was, for people, to the second.
func FormatAge(t time.Time) string {
	d := max(time.Since(t), 0)
	if d < time.Minute {
		return fmt.Sprintf("%.0fs", d.Seconds())
	}
	return config.FormatDuration(d.Truncate(time.Second))
}

// Count writes how many of something there are: "1 warning", "2 warnings".
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

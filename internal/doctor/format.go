package doctor

import (
	"fmt"
	"time"

	"github.com/runnel-cdc/runnel/internal/config"
)

// FormatBytes writes a number of bytes for people, rounded.
func FormatBytes(n int64) string { return config.RoundSize(n) }

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

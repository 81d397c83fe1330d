package config

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestUnits(t *testing.T) {
	for text, want := range map[string]int64{"32MiB": 32 << 20, "0": 0, "4096": 4096, "1kB": 1000, "500 MB": 5e8, "2GiB": 2 << 30} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "+1", "1.5MiB", "1mib", "1 M", "9999999999TiB", "1 MiB x", "MiB1"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("size %q: %d", text, got)
		}
	}
	for text, want := range map[string]time.Duration{"7d": 7 * day, "2w": 14 * day, "1w2d": 9 * day, "1d12h": 36 * time.Hour, "60s": time.Minute, "1.5h": 90 * time.Minute, "0s": 0, "250ms": 250 * time.Millisecond} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "7", "-1s", "-0s", "1d-1s", "d", "1.5d", "2d1w", "999999999w", "1d1d", "106751d24h", "forever"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("duration %q: %v", text, got)
		}
	}
	for d, want := range map[time.Duration]string{7 * day: "7d", time.Minute: "60s", 90 * time.Second: "90s", 90 * time.Minute: "1h30m", time.Hour: "1h", 36 * time.Hour: "1d12h", Forever: "forever", 0: "0s"} {
		if got := FormatDuration(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

// What is shown is what can be written.
func TestUnitsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Min(0).Draw(t, "bytes")
		if got, err := ParseSize(FormatSize(n)); err != nil || got != n {
			t.Fatalf("%d: %s, %d, %v", n, FormatSize(n), got, err)
		}
		d := time.Duration(rapid.Int64Min(0).Draw(t, "duration"))
		if rapid.Bool().Draw(t, "round") {
			d = d.Truncate(time.Second)
		}
		if got, err := ParseDuration(FormatDuration(d)); err != nil || got != d {
			t.Fatalf("%v: %s, %v, %v", d, FormatDuration(d), got, err)
		}
	})
}

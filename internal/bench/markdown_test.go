package bench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestReplaceFigures: what is not between the lines stays.
func TestReplaceFigures(t *testing.T) {
	name := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(name, []byte("before\n"+figuresBegin+"old\n"+figuresEnd+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := ReplaceFigures(name, "new\n"); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if want := "before\n" + figuresBegin + "\nnew\n\n" + figuresEnd + "after\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	if err := os.WriteFile(name, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ReplaceFigures(name, "new"); err == nil {
		t.Error("a document without the lines was written")
	}
}

// TestMarkdown: ratios are of the middle of the rounds, and the limit's beside them.
func TestMarkdown(t *testing.T) {
	c := DrainCase{Encoding: Avro, PerTx: 10, Rows: 1000}
	for i, rate := range []float64{90, 100, 130} {
		c.Drains = append(c.Drains, Drain{System: systemLimit, Round: i, Rate: rate}, Drain{System: systemControl, Round: i, Rate: 110},
			Drain{System: systemRunnel, Round: i, Rate: rate / 2, CPU: 2 * time.Microsecond, Memory: int64(i+50) << 20})
	}
	text := Report{Rows: 1000, Rounds: 3, Drains: []DrainCase{c}, Starts: []Start{{Topics: 7, Took: []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}}}}.Markdown()
	for _, want := range []string{"| Avro, passing through | 10 | **0.50 (±30 %)** | 1.10 (±0 %) | 50 | 100 | 2.0 µs | 0.00 | 52 MiB |", "| 7 | 2000.0 ms | 4000.0 ms | 3 |", "bar [50]", "line [100]"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

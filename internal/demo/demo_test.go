package demo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pulsartest"
)

// build builds the daemon's binary into dir.
func build(t *testing.T, dir string) string {
	t.Helper()
	name := filepath.Join(dir, "runnel")
	if out, err := exec.Command("go", "build", "-o", name, "../../cmd/runnel").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return name
}

func options(t *testing.T, out io.Writer, binary string) Options {
	return Options{Out: out, Duration: 2 * time.Second, Binary: binary, Servers: Servers{
		PostgresURL: pgtest.URL(t), PulsarURL: pulsartest.URL(t), PulsarAdminURL: pulsartest.AdminURL(t)}}
}

// leftovers lists what a demo may have left on the servers.
func leftovers(t *testing.T) (left []string) {
	t.Helper()
	db := pgtest.Conn(t, pgtest.URL(t))
	rows, err := db.Query(t.Context(), `select datname from pg_database where datname ~ '^(orders|fulfilment)_[0-9a-f]{8}$'
		union all select rolname from pg_roles where rolname ~ '^(orders|fulfilment)_[0-9a-f]{8}_'
		union all select slot_name from pg_replication_slots where slot_name ~ '^runnel_orders_[0-9a-f]{8}$'`)
	if err != nil {
		t.Fatal(err)
	}
	left, err = pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(pulsartest.Admin(t, "GET", "/admin/v2/namespaces/public", nil)), ",") {
		if strings.Contains(line, "public/orders_") {
			left = append(left, line)
		}
	}
	return left
}

func TestDemoAddsUpAndLeavesNothing(t *testing.T) {
	var out bytes.Buffer
	if err := Run(t.Context(), options(t, &out, build(t, t.TempDir()))); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if !strings.Contains(out.String(), "It adds up") || strings.Contains(out.String(), "WRONG") {
		t.Errorf("the verdict:\n%s", out.String())
	}
	if left := leftovers(t); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// What a demo that is kept prints leads to what it left running.
func TestKeptDemo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	kept, keep := context.WithCancel(t.Context())
	out := &cutter{text: "examples/readers/README.md", cancel: keep}
	o := options(t, out, build(t, t.TempDir()))
	o.Keep = true
	done := make(chan error, 1)
	go func() { done <- Run(ctx, o) }()
	select {
	case err := <-done:
		t.Fatalf("%v\n%s", err, out)
	case <-kept.Done():
	}
	var script strings.Builder
	for line := range strings.Lines(out.String()) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "export ") {
			script.WriteString(line + "\n")
		}
	}
	for _, command := range []string{"status", "tail --from earliest", "route explain OrderPlaced"} {
		shell := exec.CommandContext(ctx, "sh", "-euc", script.String()+"'"+o.Binary+"' "+command)
		shell.Dir = t.TempDir()
		shell.Env = slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, "RUNNEL_") })
		text, err := shell.CombinedOutput()
		t.Logf("%s:\n%.500s", command, text)
		if err != nil || !strings.Contains(string(text), "order") {
			t.Errorf("%s: %v\n%s", command, err, text)
		}
	}
	statements := regexp.MustCompile(`psql '(.+)' -c "(select runnel.+)"`).FindStringSubmatch(out.String())
	copied := regexp.MustCompile(`psql '(.+)' -c 'select .+'`).FindStringSubmatch(out.String())
	if statements == nil || copied == nil {
		t.Fatalf("no statements in\n%s", out)
	}
	if _, err := pgtest.Conn(t, statements[1]).Exec(ctx, strings.ReplaceAll(statements[2], `\"`, `"`)); err != nil {
		t.Error(err)
	}
	pgtest.Eventually(t, 30*time.Second, func() bool {
		n := 0
		err := pgtest.Conn(t, copied[1]).QueryRow(ctx, `select count(*) from fulfilment.orders where id = '42'`).Scan(&n)
		return err == nil && n == 1
	}, "the order that was placed by psql is in the local copy")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if left := leftovers(t); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// cutter cancels when a text is written.
type cutter struct {
	mu     sync.Mutex
	text   string
	cancel context.CancelFunc
	all    bytes.Buffer
}

func (c *cutter) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all.Write(b)
	if strings.Contains(c.all.String(), c.text) {
		c.cancel()
	}
	return len(b), nil
}

func (c *cutter) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all.String()
}

func TestInterruptedDemoLeavesNothing(t *testing.T) {
	binary := build(t, t.TempDir())
	for _, text := range []string{"ready", "Orders are placed", "after its commit"} {
		ctx, cancel := context.WithCancel(t.Context())
		out := &cutter{text: text, cancel: cancel}
		if err := Run(ctx, options(t, out, binary)); !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted at %q: %v\n%s", text, err, out.all.String())
		}
		cancel()
		if left := leftovers(t); len(left) > 0 {
			t.Errorf("interrupted at %q, left behind: %q", text, left)
		}
	}
}

func TestVerdictThatDoesNotAddUp(t *testing.T) {
	var out bytes.Buffer
	d := &demo{say: newSpeaker(&out)}
	err := d.print([]result{{"events committed", "3", check(true)}, {"messages in the topic", "2", check(false)}})
	if !errors.Is(err, ErrDoesNotAddUp) || !strings.Contains(out.String(), "WRONG  messages in the topic") {
		t.Errorf("error %v, output:\n%s", err, out.String())
	}
	if err := d.print([]result{{"events committed", "3", check(true)}}); err != nil {
		t.Error(err)
	}
}

func TestCompareSeesEveryDifference(t *testing.T) {
	source := map[string]string{"1": "a", "2": "b"}
	for name, test := range map[string]struct {
		copied map[string]string
		want   int
	}{
		"equal":   {map[string]string{"1": "a", "2": "b"}, 0},
		"other":   {map[string]string{"1": "a", "2": "x"}, 1},
		"missing": {map[string]string{"1": "a"}, 1},
		"phantom": {map[string]string{"1": "a", "2": "b", "3": "c"}, 1},
	} {
		if got := compare(source, test.copied); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

func TestQuantile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(100-i))
	}
	for q, want := range map[float64]time.Duration{0.5: 50, 0.99: 99, 1: 100, 0: 1} {
		if got := quantile(hundred, q); got != want {
			t.Errorf("quantile %v = %d, want %d", q, got, want)
		}
	}
	if got := quantile(nil, 0.5); got != 0 {
		t.Errorf("of none: %d", got)
	}
}

func TestPeakMemory(t *testing.T) {
	n, err := peakMemory(os.Getpid())
	if err != nil || n < 1<<20 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

package readerstest

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/runnel-cdc/runnel/internal/child"
	"github.com/runnel-cdc/runnel/internal/pulsartest"
	"github.com/runnel-cdc/runnel/internal/testserver"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if classes != "" {
			_ = os.RemoveAll(classes)
		}
		os.Exit(code)
	}))
}

const dir = "../../examples/readers"

// patience bounds whatever a reader is waited for; a machine may be busy.
const patience = 60 * time.Second

// program is a reader: a command that takes COPY TOPIC [--until-idle].
type program struct {
	name    string
	command []string
	temp    string // for what the program leaves when it is killed
}

// programs returns the readers. Without their libraries the test is skipped,
// or fails when servers are required.
func programs(t *testing.T) []program {
	t.Helper()
	pulsartest.URL(t) // skips before anything is compiled
	var stdout, stderr bytes.Buffer
	check := exec.CommandContext(t.Context(), filepath.Join(dir, "setup"), "--check")
	check.Stdout, check.Stderr = &stdout, &stderr
	if err := check.Run(); err != nil {
		if os.Getenv(testserver.Servers) == "required" {
			t.Fatalf("examples/readers/setup --check: %v\n%s", err, &stderr)
		}
		t.Skipf("the readers' libraries are not there: run examples/readers/setup\n%s", &stderr)
	}
	settings := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^export (\w+)='(.*)'$`).FindAllStringSubmatch(stdout.String(), -1) {
		settings[m[1]] = m[2]
	}
	jars, temp := filepath.Join(settings["READERS_JARS"], "*"), t.TempDir()
	compiled.Do(func() { compile(t, jars) })
	return []program{
		{"java", []string{java("java"), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Djava.io.tmpdir=" + temp, "-cp", classes + ":" + jars, "OrderReader"}, temp},
		{"python", []string{settings["READERS_PYTHON"], filepath.Join(dir, "python/reader.py")}, temp},
	}
}

var (
	compiled sync.Once
	classes  string // the folder of the compiled Java reader, for all tests
)

func compile(t *testing.T, jars string) {
	t.Helper()
	var err error
	if classes, err = os.MkdirTemp("", "runnel-readers-"); err != nil {
		t.Fatal(err)
	}
	// -Werror: what a newcomer copies has no warnings.
	javac := exec.CommandContext(t.Context(), java("javac"), "-Xlint:all,-serial", "-Werror", "-d", classes, "-cp", jars, filepath.Join(dir, "java/OrderReader.java"))
	if out, err := javac.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func java(name string) string {
	if home := os.Getenv("JAVA_HOME"); home != "" {
		return filepath.Join(home, "bin", name)
	}
	return name
}

// process is a running reader. Its log is read by one goroutine; what it wrote
// is known when Done is closed.
type process struct {
	*child.Process
	out bytes.Buffer

	mu     sync.Mutex
	log    []string
	begun  int // the sum of the ordinals after which it began
	passed int // transactions
	moved  chan struct{}
}

// start starts a reader. It is killed when ctx ends, and when this process does.
func (p program) start(ctx context.Context, broker environment, arguments ...string) (*process, error) {
	r := &process{moved: make(chan struct{}, 1)}
	cmd := exec.CommandContext(ctx, p.command[0], append(slices.Clone(p.command[1:]), arguments...)...)
	cmd.Env = append(os.Environ(), "RUNNEL_PULSAR_URL="+broker.url, "RUNNEL_PULSAR_ADMIN_URL="+broker.adminURL, "TMPDIR="+p.temp)
	cmd.Stdout = &r.out
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	r.Process, err = child.Start(cmd, func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			r.line(lines.Text())
		}
	})
	return r, err
}

// line takes a line of the log.
func (r *process) line(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, text)
	var partition, applied, skipped, ordinal int
	if n, _ := fmt.Sscanf(text, "order-partition-%d: begins after ordinal %d", &partition, &ordinal); n == 2 {
		r.begun += ordinal
	}
	if n, _ := fmt.Sscanf(text, "order-partition-%d: %d applied, %d skipped", &partition, &applied, &skipped); n == 3 {
		r.passed++
		select {
		case r.moved <- struct{}{}:
		default:
		}
	}
}

func (r *process) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.log[max(0, len(r.log)-15):], "\n")
}

// moves waits until it commits a transaction.
func (r *process) moves() error {
	select {
	case <-r.moved:
		return nil
	case <-r.Done():
		return fmt.Errorf("the reader ended: %w\n%s", cmp.Or(r.Err(), errors.New("exit code 0")), r.text())
	case <-time.After(patience):
		return errors.New("the reader does not apply anything:\n" + r.text())
	}
}

// kill kills it with SIGKILL, and requires that it had not ended before.
func (r *process) kill() error {
	if !r.Alive() {
		return fmt.Errorf("the reader ended by itself: %w\n%s", cmp.Or(r.Err(), errors.New("exit code 0")), r.text())
	}
	r.Kill()
	return nil
}

// wait waits until it ends by itself.
func (r *process) wait() error {
	select {
	case <-r.Done():
		return r.Err()
	case <-time.After(patience):
		r.Kill()
		return errors.New("the reader does not end:\n" + r.text())
	}
}

// database is a copy's, looked at with neither of the readers.
type database struct {
	t       *testing.T
	readers []program
	file    string
}

// run runs a script that finds the database opened as db, and returns what it
// prints.
func (d database) run(script string) string {
	d.t.Helper()
	python := d.readers[slices.IndexFunc(d.readers, func(p program) bool { return p.name == "python" })].command[0]
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	script = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], timeout=30)\n" + script
	out, err := exec.CommandContext(ctx, python, "-c", script, d.file).CombinedOutput()
	if err != nil {
		d.t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

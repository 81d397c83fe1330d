package programs

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/child"
)

// Patience bounds whatever a reader is waited for; a machine may be busy.
const Patience = 60 * time.Second

// Process is a program that runs. Its log is read by one goroutine.
type Process struct {
	*child.Process
	out bytes.Buffer

	mu     sync.Mutex
	log    []string
	begun  int // the sum of the ordinals after which it began
	passed int // transactions
	moved  chan struct{}
}

// Start starts a program. It is killed when ctx ends, and when this process does.
func (p Program) Start(ctx context.Context, arguments ...string) (*Process, error) {
	r := &Process{moved: make(chan struct{}, 1)}
	cmd := exec.CommandContext(ctx, p.command[0], append(slices.Clone(p.command[1:]), arguments...)...)
	cmd.Env = append(os.Environ(), p.runtime.env...)
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
func (r *Process) line(text string) {
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

// Begun is the sum of the ordinals after which a reader began.
func (r *Process) Begun() int { r.mu.Lock(); defer r.mu.Unlock(); return r.begun }

// Passed is how many transactions a reader has made.
func (r *Process) Passed() int { r.mu.Lock(); defer r.mu.Unlock(); return r.passed }

// Text is the end of the log.
func (r *Process) Text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.log[max(0, len(r.log)-15):], "\n")
}

// Output is what it has written, once it has ended.
func (r *Process) Output() string { <-r.Done(); return r.out.String() }

// Moves waits until a reader commits a transaction.
func (r *Process) Moves() error {
	select {
	case <-r.moved:
		return nil
	case <-r.Done():
		return fmt.Errorf("the reader ended: %w\n%s", cmp.Or(r.Err(), errors.New("exit code 0")), r.Text())
	case <-time.After(Patience):
		return errors.New("the reader does not apply anything:\n" + r.Text())
	}
}

// KillLive kills it with SIGKILL, and requires that it had not ended before.
func (r *Process) KillLive() error {
	if !r.Alive() {
		return fmt.Errorf("the reader ended by itself: %w\n%s", cmp.Or(r.Err(), errors.New("exit code 0")), r.Text())
	}
	r.Kill()
	return nil
}

// Wait waits until it ends by itself.
func (r *Process) Wait() error {
	select {
	case <-r.Done():
		return r.Err()
	case <-time.After(Patience):
		r.Kill()
		return errors.New("the reader does not end:\n" + r.Text())
	}
}

// Counts is what a reader counted, over all its lives.
type Counts struct{ Applied, Unknown int }

// Copy reads what a reader has printed, which has ended: a row for each order, and the
// counts.
func (r *Process) Copy(t testing.TB) (rows []string, counted Counts) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(r.Output()), "\n")
	last := lines[len(lines)-1]
	if err := json.Unmarshal([]byte(last), &counted); err != nil {
		t.Fatalf("the last line is %q: %v", last, err)
	}
	return lines[:len(lines)-1], counted
}

// Rows reads a query's rows in the form that the readers print: a JSON array each.
func Rows(ctx context.Context, db interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}, sql string) ([]string, error) {
	rows, err := db.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		values, err := row.Values()
		if err != nil {
			return "", err
		}
		var line bytes.Buffer
		encoder := json.NewEncoder(&line)
		encoder.SetEscapeHTML(false)
		err = encoder.Encode(values)
		return string(bytes.TrimSpace(line.Bytes())), err
	})
}

// Compare requires that a copy's rows are the source's.
func Compare(t testing.TB, what string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) && len(want) > 0 {
		return
	}
	missing, more := "", ""
	for _, line := range want {
		if !slices.Contains(got, line) {
			missing += fmt.Sprintln("  not there:", line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			more += fmt.Sprintln("  instead:  ", line)
		}
	}
	t.Errorf("%s: %d rows, want %d\n%.2000s%.2000s", what, len(got), len(want), missing, more)
}

package mutants

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/runnel-cdc/runnel/internal/torture"
)

// Runner plays mutants. It is used by one goroutine.
type Runner struct {
	Root string    // of the source tree
	Seed uint64    // of the harness's runs
	PG   string    // Postgres' major version; empty: the newest on this machine
	Out  io.Writer // is told what happens

	work string // a copy of the tree, to be changed; logs and histories
}

// Result is what became of one mutant.
type Result struct {
	Mutant   Mutant
	Caught   bool
	By       string // the findings by check, or the test
	Duration time.Duration
}

// budget bounds one scenario.
const budget = 10 * time.Minute

// Run plays each mutant's scenario, first without any bug. An error is of the
// runner, of a scenario that fails without a bug, or of a patch that does not
// apply or does not compile; a mutant that escapes is a Result.
func (r *Runner) Run(ctx context.Context, all []Mutant) (results []Result, err error) {
	if r.work, err = os.MkdirTemp("", "runnel-mutants-"); err != nil {
		return nil, err
	}
	if err := r.copyTree(ctx); err != nil {
		return nil, fmt.Errorf("copy the tree: %w", err)
	}
	sound := make(map[string]bool)
	for i := range all {
		m := &all[i]
		if !sound[m.scenario()] {
			r.say("without a bug: %s", m.scenario())
			control := Mutant{Name: fmt.Sprintf("control-%d", i), Faults: m.Faults, Package: m.Package, Test: m.Test, Servers: m.Servers}
			found, _, err := r.play(ctx, &control)
			if err == nil && found != "" {
				err = errors.New(found)
			}
			if err != nil {
				return results, fmt.Errorf("without any bug, %s: %w (kept in %s)", m.scenario(), err, r.work)
			}
			sound[m.scenario()] = true
		}
		began := time.Now()
		result, err := r.one(ctx, m)
		if err != nil {
			return results, fmt.Errorf("mutant %s: %w (kept in %s)", m.Name, err, r.work)
		}
		result.Duration = time.Since(began)
		verdict := "ESCAPED"
		if result.Caught {
			verdict = "caught"
		}
		r.say("%-8s %s by %s (%s): %s", verdict, m.Name, m.scenario(), result.Duration.Round(time.Second), result.By)
		results = append(results, result)
	}
	return results, os.RemoveAll(r.work)
}

// one applies a mutant's patch, plays its scenario and takes the patch back.
func (r *Runner) one(ctx context.Context, m *Mutant) (Result, error) {
	patch, err := filepath.Abs(m.Patch)
	if err != nil {
		return Result{}, err
	}
	if out, err := r.command(ctx, "git", "apply", patch); err != nil {
		return Result{}, fmt.Errorf("apply: %w: %s", err, out)
	}
	found, caught, err := r.play(ctx, m)
	if out, failed := r.command(context.WithoutCancel(ctx), "git", "apply", "-R", patch); failed != nil {
		err = errors.Join(err, fmt.Errorf("take back: %w: %s", failed, out))
	}
	return Result{Mutant: *m, Caught: caught, By: found}, err
}

// missing are the checks that something is not there yet, or not the same yet. They
// show a bug only once a fault has fired; what is wrong in a topic shows it at once.
var missing = []string{torture.CheckLost, torture.CheckConfirmed, torture.CheckCopy}

// caughtBy reports whether what was found is what was to be found: not any
// finding shows that this bug was seen, and that time ran out never does. Where the
// product's own guard is to stop the bug, the judge must have heard of it too.
func (m *Mutant) caughtBy(v *torture.Verdict, halted bool) bool {
	if m.Halts != "" {
		return halted && v.Counts[torture.CheckGuard] > 0
	}
	return slices.ContainsFunc(m.Checks, func(check string) bool {
		return v.Counts[check] > 0 && (v.Fired > 0 || !slices.Contains(missing, check))
	})
}

// play returns what was found, empty for nothing, and whether that is the bug.
func (r *Runner) play(ctx context.Context, m *Mutant) (found string, caught bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	if m.Test != "" {
		found, err = r.test(ctx, m)
		return found, found != "", err
	}
	return r.torture(ctx, m)
}

// halted reports whether a daemon or projection logged the mutant's code.
func (m *Mutant) halted(dir string) (bool, error) {
	if m.Halts == "" {
		return false, nil
	}
	for _, name := range []string{"daemon.log", "copy.log"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return false, err
		}
		if strings.Contains(string(text), m.Halts) {
			return true, nil
		}
	}
	return false, nil
}

// torture plays a scenario of the harness. Whoever looks at the findings has the
// history in the folder.
func (r *Runner) torture(ctx context.Context, m *Mutant) (found string, caught bool, err error) {
	binary := filepath.Join(r.work, "torture")
	if out, err := r.command(ctx, "go", "build", "-trimpath", "-tags", "failpoints", "-o", binary, "./internal/torture/cmd/torture"); err != nil {
		return "", false, fmt.Errorf("build: %w: %s", err, out)
	}
	dir := filepath.Join(r.work, m.Name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", false, err
	}
	log, err := os.Create(filepath.Join(dir, "run.log"))
	if err != nil {
		return "", false, err
	}
	defer func() { _ = log.Close() }()
	verdict, err := torture.Run(ctx, torture.Options{Seed: r.Seed, Faults: m.Faults, Binary: binary, Dir: dir,
		PGVersion: r.PG, Before: 1000, Patience: 30 * time.Second, GiveUp: true, Out: log})
	if err != nil {
		return "", false, err
	}
	var all []string
	for check, n := range verdict.Counts {
		all = append(all, fmt.Sprintf("%s %d", check, n))
	}
	slices.Sort(all)
	for _, f := range verdict.Findings {
		_, _ = fmt.Fprintf(log, "FINDING %s %s\n", f.Check, f.Detail) // the verdict counts
	}
	halted, err := m.halted(dir)
	if halted {
		all = append(all, "halted with "+m.Halts)
	}
	return strings.Join(all, ", "), m.caughtBy(verdict, halted), err
}

// test runs a test, and returns the names of what failed.
func (r *Runner) test(ctx context.Context, m *Mutant) (string, error) {
	args := []string{"go", "test", "-v", "-count=1", "-trimpath", "-run", "^" + m.Test + "$", m.Package}
	if m.Servers {
		with := []string{"go", "run", "./internal/devstack/cmd/withstack"}
		if r.PG != "" {
			with = append(with, "-pg", r.PG)
		}
		args = append(with, args...)
	}
	out, err := r.command(ctx, args...)
	var exit *exec.ExitError
	switch {
	case err == nil && strings.Contains(out, "no tests to run"):
		return "", fmt.Errorf("%s has no %s", m.Package, m.Test)
	case err == nil && strings.Contains(out, "--- SKIP: "+m.Test):
		return "", fmt.Errorf("%s skips %s: it lacks the trailer \"Needs: servers\"", m.Package, m.Test)
	case err == nil:
		return "", nil
	case !errors.As(err, &exit) || !strings.Contains(out, "--- FAIL: "+m.Test):
		return "", fmt.Errorf("%w: %s", err, out)
	}
	var failed []string
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "--- FAIL: "); ok {
			name, _, _ = strings.Cut(name, " ")
			failed = append(failed, name)
		}
	}
	return strings.Join(failed, ", "), nil
}

// copyTree copies what git has or would take, with changes that are not committed.
func (r *Runner) copyTree(ctx context.Context) error {
	list := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = r.Root
	names, err := list.Output()
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		from := filepath.Join(r.Root, name)
		info, err := os.Stat(from)
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, and not committed
		}
		if err != nil {
			return err
		}
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		to := filepath.Join(r.tree(), name)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(to, data, info.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runner) tree() string { return filepath.Join(r.work, "tree") }

// command runs a command in the copy, and returns what it said. It is asked to
// end before it is killed: it may have servers to end.
func (r *Runner) command(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = r.tree()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (r *Runner) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.Out, time.Now().Format("15:04:05 ")+format+"\n", args...) // nobody to tell
}

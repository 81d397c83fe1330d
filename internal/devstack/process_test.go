package devstack

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParseStat(t *testing.T) {
	after := " S" + strings.Repeat(" 1", 18) + " 4711 0"
	for _, name := range []string{"java", "a b", ") S 1", "((x"} {
		start, state, err := parseStat("12 (" + name + ")" + after)
		if err != nil || start != 4711 || state != "S" {
			t.Errorf("%q: %d %q %v", name, start, state, err)
		}
	}
	for _, bad := range []string{"", "12 java S", "12 (java) S 1", "12 (java) S" + strings.Repeat(" x", 19)} {
		if _, _, err := parseStat(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("12 (a) b) S" + strings.Repeat(" 1", 19))
	f.Add("")
	f.Fuzz(func(_ *testing.T, stat string) { _, _, _ = parseStat(stat) })
}

// shell starts a shell that runs script, and is ended with the test.
func shell(t *testing.T, script string) process {
	t.Helper()
	p, done, err := launch(exec.Command("/bin/sh", "-c", script), filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.end(context.Background(), step{syscall.SIGKILL, 10 * time.Second})
		if err := <-done; err == nil {
			t.Error("the shell ended by itself")
		}
	})
	return p
}

// eventually waits for cond for at most ten seconds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if poll(ctx, 10*time.Millisecond, cond) != nil {
		t.Fatalf("not within 10 s: %s", what)
	}
}

func TestProcessEndsAndEscalates(t *testing.T) {
	stubborn := shell(t, "trap '' TERM; while :; do sleep 0.05; done")
	if since := time.Since(stubborn.started()); since < -2*time.Second || since > time.Minute {
		t.Errorf("started %v ago", since)
	}
	if err := stubborn.end(t.Context(), step{syscall.SIGTERM, 50 * time.Millisecond}, step{syscall.SIGKILL, 10 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if stubborn.alive() {
		t.Fatal("still alive")
	}
	if err := stubborn.signal(syscall.SIGKILL); err != nil {
		t.Fatalf("a dead process: %v", err)
	}
}

func TestFreeze(t *testing.T) {
	p := shell(t, "while :; do sleep 0.01; done")
	if p.frozen() {
		t.Error("taken for frozen")
	}
	if err := p.freeze(10 * time.Second); err != nil || !p.frozen() {
		t.Errorf("not frozen: %v", err)
	}
	if err := p.end(t.Context(), step{syscall.SIGKILL, 10 * time.Second}); err != nil {
		t.Error(err)
	}
	if err := p.freeze(time.Minute); err != nil {
		t.Errorf("a dead process: %v", err)
	}
}

// TestForeignProcess: same id, other start time: it is somebody else's.
func TestForeignProcess(t *testing.T) {
	p := shell(t, "exec sleep 60")
	foreign := process{PID: p.PID, Start: p.Start + 1}
	if foreign.alive() {
		t.Fatal("taken for ours")
	}
	if err := foreign.end(t.Context(), step{syscall.SIGKILL, time.Second}); err != nil {
		t.Fatal(err)
	}
	if !p.alive() {
		t.Fatal("a foreign process was ended")
	}
}

// TestGuard lets the guard's input end, as the death of its parent does.
func TestGuard(t *testing.T) {
	dir := t.TempDir()
	inside := filepath.Join(dir, "stack", "data")
	if err := os.MkdirAll(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	ours, stubborn, foreign := shell(t, "exec sleep 60"), shell(t, "trap '' TERM; while :; do sleep 0.05; done"), shell(t, "exec sleep 60")
	leader := shell(t, "sleep 60 & sleep 60; wait")
	g, err := newGuard()
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		g.kill(ours, "TERM"), g.kill(stubborn, "TERM"), g.killGroup(leader),
		g.kill(process{PID: foreign.PID, Start: foreign.Start + 1}, "KILL"),
		g.remove(inside), g.rmdir(filepath.Dir(inside)), g.rmdir(dir + "/absent"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := g.remove("relative"); err == nil {
		t.Error("a relative path is accepted")
	}
	if err := g.input.Close(); err != nil {
		t.Fatal(err)
	}
	if err := g.cmd.Wait(); err != nil && !strings.Contains(err.Error(), "exit status") {
		t.Fatal(err)
	}
	for _, p := range []process{ours, stubborn, leader} {
		eventually(t, "the guard ends what is ours", func() bool { return !p.alive() })
	}
	if !foreign.alive() {
		t.Error("the guard ended a foreign process")
	}
	if _, err := os.Stat(filepath.Dir(inside)); !os.IsNotExist(err) {
		t.Errorf("the data is still there: %v", err)
	}
}

func TestGuardReleased(t *testing.T) {
	p, dir := shell(t, "exec sleep 60"), t.TempDir()
	g, err := newGuard()
	if err != nil {
		t.Fatal(err)
	}
	if err := g.kill(p, "KILL"); err != nil {
		t.Fatal(err)
	}
	if err := g.remove(dir); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := g.release(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(dir); err != nil || !p.alive() {
		t.Fatal("a released guard acted")
	}
}

package cli

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The first signal ends the context, the second the process.
func TestTwoSignals(t *testing.T) {
	exited := make(chan int, 1)
	ctx, stop := withSignals(t.Context(), func(code int) { exited <- code })
	defer stop()
	send := func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	send()
	<-ctx.Done()
	var i interrupted
	if !errors.As(context.Cause(ctx), &i) || i.exitCode() != 143 {
		t.Errorf("cause %v", context.Cause(ctx))
	}
	send()
	if code := <-exited; code != 143 {
		t.Errorf("exit code %d", code)
	}
}

// A command that waits for a server ends at once, with 130 or 143.
func TestInterruptedProcess(t *testing.T) {
	t.Chdir(t.TempDir())
	for signal, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		cmd := exec.CommandContext(ctx, "runnel", "status", "-o", "json", "--postgres", "postgres://u@"+silent.Addr().String()+"/d?sslmode=disable")
		var stdout strings.Builder
		cmd.Stdout = &stdout
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		conn, err := silent.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		err = cmd.Wait()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != want {
			t.Errorf("%v: %v, want exit code %d", signal, err, want)
		}
		if !strings.Contains(stdout.String(), `"code": "INTERRUPTED"`) || !strings.Contains(stdout.String(), `"message": "interrupted by SIG`) {
			t.Errorf("%s", stdout.String())
		}
		_, _ = conn.Close(), silent.Close()
		cancel()
	}
}

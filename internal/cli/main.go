package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Main runs the command line and returns the process's exit code: 0 fine, 1
// failed at run time, 2 wrong input or findings, 3 environment, 130 and 143
// interrupted by SIGINT and SIGTERM. The first signal asks the command to stop;
// the second ends the process at once.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := withSignals(context.Background(), os.Exit)
	defer stop()
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, environ: os.Environ(), deps: realDeps()}
	return a.main(ctx, args)
}

// interrupted is the cause of a context that a signal ended.
type interrupted struct{ signal syscall.Signal }

func (i interrupted) Error() string { return "interrupted by " + i.name() }

func (i interrupted) name() string {
	if i.signal == syscall.SIGINT {
		return "SIGINT"
	}
	return "SIGTERM"
}

// exitCode is the shell's convention: 128 and the signal's number.
func (i interrupted) exitCode() int { return 128 + int(i.signal) }

// withSignals returns a context that the first SIGINT or SIGTERM ends, with an
// interrupted as its cause. The second calls exit. Call stop to let go of the
// signals.
func withSignals(parent context.Context, exit func(int)) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		for first := true; ; first = false {
			select {
			case s := <-signals:
				i := interrupted{s.(syscall.Signal)}
				if !first {
					exit(i.exitCode())
				}
				cancel(i)
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		<-gone
		cancel(nil)
	}
}

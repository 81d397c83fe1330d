// Command withstack runs a command with a real Postgres and a real Pulsar
// beside it: `withstack [-pg 17] go test ./...`. It sets the RUNNEL_* variables
// and RUNNEL_TEST_SERVERS=required, passes signals on to the command, ends the
// servers whatever happens, and exits with the command's code. Servers whose
// addresses are in the environment are used instead.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/testserver"
)

func main() {
	version := flag.String("pg", "", "Postgres' major version; default: the newest here")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: withstack [-pg VERSION] COMMAND [ARGUMENT...]")
		os.Exit(2)
	}
	os.Exit(run(*version, flag.Args()))
}

func run(version string, command []string) int {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithCancelCause(context.Background())
	starting := make(chan struct{})
	go func() { // until the servers are up, a signal ends the start
		select {
		case sig := <-signals:
			cancel(interrupted{sig.(syscall.Signal)})
		case <-starting:
		}
	}()
	stack, err := devstack.Up(ctx, devstack.Options{
		Postgres: true, Pulsar: true, PGVersion: version, Ephemeral: true,
		Progress: func(text string) { fmt.Fprintln(os.Stderr, text) },
	}.FromEnvironment(os.Getenv))
	close(starting)
	if err != nil {
		return report(ctx, err)
	}
	code := runCommand(stack, command, signals)
	if err := stack.Down(context.Background()); err != nil {
		return max(code, report(ctx, err))
	}
	return code
}

// interrupted is why a start was given up.
type interrupted struct{ syscall.Signal }

func (i interrupted) Error() string { return i.String() }

func report(ctx context.Context, err error) int {
	var by interrupted
	if errors.As(context.Cause(ctx), &by) {
		return 128 + int(by.Signal)
	}
	fmt.Fprintln(os.Stderr, err)
	if f := fault.Find(err); f != nil {
		fmt.Fprintln(os.Stderr, "→", f.WhatToDo())
		return int(f.Code.Class)
	}
	return 1
}

// runCommand runs the command in a process group of its own, so that a signal
// reaches all it started, once.
func runCommand(stack *devstack.Stack, command []string, signals <-chan os.Signal) int {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(append(os.Environ(), stack.Environment()...), testserver.Servers+"=required")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := stack.Tie(cmd.Process.Pid); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	group, code := -cmd.Process.Pid, 0
	var kill <-chan time.Time
	for {
		select {
		case err := <-ended:
			_ = syscall.Kill(group, syscall.SIGKILL) // what it left behind, if anything
			return max(code, exitCode(err))
		case sig := <-signals:
			code = 128 + int(sig.(syscall.Signal))
			_ = syscall.Kill(group, sig.(syscall.Signal))
			if kill == nil {
				kill = time.After(10 * time.Second)
			}
		case <-kill:
			_ = syscall.Kill(group, syscall.SIGKILL)
		}
	}
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode()
	default:
		return 1
	}
}

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/testserver"
)

// run runs the command in a process group of its own, so that a signal reaches
// all it started, once.
func (r *runner) run(stack *devstack.Stack) int {
	cmd := exec.Command(r.command[0], r.command[1:]...)
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
		case sig := <-r.signals:
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

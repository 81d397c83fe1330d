// Package child starts processes that die with this one: of tests, of the demo and
// of the torture harness. Start with Start.
package child

import (
	"os/exec"
	"runtime"
	"syscall"
)

// Process is a process that was started. It is safe for concurrent use.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // how it ended
}

// Start starts cmd, whose SysProcAttr it sets: in a process group of its own, so that
// the terminal's Ctrl-C reaches this process only, and killed when this one dies. The
// optional read takes what the process writes to a pipe, until the pipe's end; it is
// called on a goroutine of its own, before the process is waited for.
func Start(cmd *exec.Cmd, read func()) (*Process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Linux sends the signal when the starting thread ends (prctl(2),
		// PR_SET_PDEATHSIG): the thread must live as long as the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		if read != nil {
			read()
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, <-started
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns how it ended, nil for exit code 0; only after Done.
func (p *Process) Err() error { return p.err }

// Alive reports whether it has not ended.
func (p *Process) Alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends a signal; the process may be gone.
func (p *Process) Signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// Kill ends the process with SIGKILL and waits for it.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

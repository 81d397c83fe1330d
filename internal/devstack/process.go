package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server process, known beyond the life of the one that started
// it. Invariant: it is signalled only while a process with this id AND this
// start time exists, so that a reused id never hits somebody else's process.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot, field 22 of /proc/PID/stat
}

// launch starts cmd in a session of its own, so that a terminal's Ctrl-C does
// not reach it, with its output appended to the file logPath.
func launch(cmd *exec.Cmd, logPath string) (process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return process{}, err
	}
	defer func() { _ = log.Close() }()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, log, log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
	if err := cmd.Start(); err != nil {
		return process{}, err
	}
	p, err := identify(cmd.Process.Pid)
	// Collect the exit status whenever it comes: until then a dead child is a
	// zombie, which alive takes for dead.
	go func() { _ = cmd.Wait() }()
	return p, err
}

// identify returns the process that has the id now.
func identify(pid int) (process, error) {
	start, _, err := procStat(pid)
	return process{PID: pid, Start: start}, err
}

// alive reports whether the process exists and is not a zombie.
func (p process) alive() bool {
	if p.PID <= 1 {
		return false
	}
	start, state, err := procStat(p.PID)
	return err == nil && start == p.Start && state != "Z" && state != "X"
}

// started returns when the process began, by the clock of this machine.
func (p process) started() time.Time {
	info, err := os.Stat(fmt.Sprintf("/proc/%d", p.PID))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// signal sends sig; a process that is gone is no error.
func (p process) signal(sig syscall.Signal) error {
	if !p.alive() {
		return nil
	}
	if err := syscall.Kill(p.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal process %d: %w", p.PID, err)
	}
	return nil
}

// A step of ending a process: a signal, and how long it may take.
type step struct {
	signal  syscall.Signal
	patience time.Duration
}

// end goes through steps until the process is gone. When ctx ends, it goes on
// to the last step at once: what was started is ended in any case.
func (p process) end(ctx context.Context, steps ...step) error {
	for i, s := range steps {
		last := i == len(steps)-1
		if ctx.Err() != nil && !last {
			continue
		}
		if err := p.signal(s.signal); err != nil {
			return err
		}
		wait := ctx
		if last {
			wait = context.WithoutCancel(ctx)
		}
		if p.gone(wait, s.patience) {
			return nil
		}
	}
	return fmt.Errorf("process %d does not end", p.PID)
}

// gone waits until the process is gone, for at most patience.
func (p process) gone(ctx context.Context, patience time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return poll(ctx, 10*time.Millisecond, func() bool { return !p.alive() }) == nil
}

// procStat reads start time and state of a process.
func procStat(pid int) (start uint64, state string, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, "", err
	}
	return parseStat(string(data))
}

// parseStat parses `pid (comm) state ppid ...`; comm may hold blanks and
// parentheses, so fields are counted from the last one.
func parseStat(stat string) (start uint64, state string, err error) {
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, "", errors.New("no process name in stat")
	}
	fields := strings.Fields(stat[end+1:]) // fields[0] is field 3
	if len(fields) < 20 {
		return 0, "", errors.New("too few fields in stat")
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return start, fields[0], err
}

// poll calls cond at once and then every interval until it holds, or returns
// ctx's error.
func poll(ctx context.Context, interval time.Duration, cond func() bool) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

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
// not reach it, with its output appended to the file logPath. How it ended
// comes from done, which holds it for whoever asks.
func launch(cmd *exec.Cmd, logPath string) (p process, done <-chan error, err error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return p, nil, err
	}
	defer func() { _ = log.Close() }()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, log, log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
	if err := cmd.Start(); err != nil {
		return p, nil, err
	}
	if p, err = identify(cmd.Process.Pid); err != nil {
		return p, nil, err
	}
	// Collect the exit status whenever it comes: until then a dead child is a
	// zombie, which alive takes for dead.
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return p, ended, nil
}

// identify returns the process that has the id now.
func identify(pid int) (process, error) {
	start, _, err := procStat(pid)
	return process{PID: pid, Start: start}, err
}

// alive reports whether the process exists and is not a zombie. A zombie whose
// threads are still ending holds its ports, and counts as alive.
func (p process) alive() bool {
	if p.PID <= 1 {
		return false
	}
	start, state, err := procStat(p.PID)
	if err != nil || start != p.Start || state == "X" {
		return false
	}
	if state != "Z" {
		return true
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.PID))
	return err == nil && len(threads) > 1
}

// ticksPerSecond is Linux's USER_HZ, the unit of the times in /proc, which is
// 100 on every architecture that Go runs on.
const ticksPerSecond = 100

// started returns when the process began, to the second, or zero.
func (p process) started() time.Time {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}
	}
	for line := range strings.Lines(string(data)) {
		if boot, ok := strings.CutPrefix(line, "btime "); ok {
			seconds, _ := strconv.ParseInt(strings.TrimSpace(boot), 10, 64)
			return time.Unix(seconds+int64(p.Start/ticksPerSecond), 0)
		}
	}
	return time.Time{}
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

// freeze sends SIGSTOP and waits, for at most patience, until every thread has
// stopped: none of them is within a system call then, but those that wait.
func (p process) freeze(patience time.Duration) error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// A thread that does not stop in time waits for a disk, and is killed there.
	_ = poll(ctx, time.Millisecond, p.frozen)
	return nil
}

// frozen reports whether all threads have stopped, or ended.
func (p process) frozen() bool {
	if !p.alive() {
		return true
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.PID))
	if err != nil {
		return true
	}
	for _, t := range threads {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/stat", p.PID, t.Name()))
		if err != nil {
			continue
		}
		if _, state, err := parseStat(string(stat)); err == nil && !strings.Contains("TtZX", state) {
			return false
		}
	}
	return true
}

// A step of ending a process: a signal, and how long it may take.
type step struct {
	signal   syscall.Signal
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

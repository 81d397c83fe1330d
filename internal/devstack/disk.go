package devstack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// A disk that is full, without the rights to make a small one. For Postgres the kernel
// refuses each write of the server's processes to a file (RLIMIT_FSIZE), with another
// number than that of a full disk and to the same effect. For the bookie the disk is full
// at a threshold, which a file of that size crosses.

// PostgresDiskFull lets every write of Postgres' processes to a file fail from now on. It
// panics at its next write to the WAL, as on a full disk, and cannot recover until it is
// started again (StartPostgres), which has the disk freed.
func (s *Stack) PostgresDiskFull() error {
	p, err := s.process(func() *process { return postgresProcess(s.state) })
	if err != nil {
		return err
	}
	as, err := postgresAccount()
	if err != nil {
		return err
	}
	// The server first: what it forks from now on inherits the limit.
	if err := limitFiles(p.PID, as); err != nil {
		return err
	}
	children, err := childrenOf(p.PID)
	for _, pid := range children {
		if limited := limitFiles(pid, as); limited != nil && syscall.Kill(pid, 0) == nil { // it may have ended
			err = errors.Join(err, limited)
		}
	}
	return err
}

// PostgresRuns reports whether the server's first process is there.
func (s *Stack) PostgresRuns() bool {
	p, err := s.process(func() *process { return postgresProcess(s.state) })
	return err == nil && p.alive()
}

// limitFiles sets a process's soft limit of the size of files to 0, as the process's own
// user may; nothing it writes to a pipe or a socket is concerned.
func limitFiles(pid int, as account) error {
	cmd := exec.Command("prlimit", "--pid", strconv.Itoa(pid), "--fsize=0:")
	cmd.SysProcAttr = as.attributes()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// childrenOf lists the processes that a process has started and that run.
func childrenOf(pid int) (all []int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil, err
	}
	for field := range strings.FieldsSeq(string(text)) {
		child, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		all = append(all, child)
	}
	return all, nil
}

// thresholds are the bookie's settings of its disk. Of two equal keys it takes the first,
// unlike the broker: they are replaced.
var thresholds = regexp.MustCompile(`(?m)^diskUsage\w*Threshold=.*$`)

// withDisk returns settings of a bookie whose disk can be filled.
func (s *Stack) withDisk(settings string) (string, error) {
	if s.margin == 0 {
		return settings, nil
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(s.dir, &disk); err != nil {
		return "", err
	}
	total := float64(disk.Blocks) * float64(disk.Bsize)
	used := total - float64(disk.Bavail)*float64(disk.Bsize) // as the bookie counts
	full := (used + float64(s.margin)) / total
	if used+2*float64(s.margin) >= total {
		return "", ErrFolder.New("its disk has no %d bytes left", 2*s.margin).At("%s", s.dir)
	}
	return thresholds.ReplaceAllString(settings, "") + fmt.Sprintf(
		"\ndiskUsageThreshold=%.9[1]f\ndiskUsageWarnThreshold=%.9[1]f\ndiskUsageLwmThreshold=%.9[1]f\ndiskCheckInterval=500\n", full), nil
}

// FillPulsarDisk takes twice Options.DiskMargin, so that the bookie turns read-only within
// a second: it refuses what is to be stored, until FreePulsarDisk.
func (s *Stack) FillPulsarDisk() error {
	f, err := os.OpenFile(filepath.Join(s.dir, ballast), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(syscall.Fallocate(int(f.Fd()), 0, 0, 2*s.margin), f.Close())
}

// FreePulsarDisk undoes FillPulsarDisk.
func (s *Stack) FreePulsarDisk() error {
	if err := os.Remove(filepath.Join(s.dir, ballast)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

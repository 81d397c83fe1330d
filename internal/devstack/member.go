package devstack

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Member is one server of a Cluster. Its methods are safe for concurrent use.
type Member struct {
	c       *Cluster
	name    string // of its settings, its log and its folder
	command string // of bin/pulsar
	ports   []int  // its own for life: a bookie's is its name in the ledgers
	env     []string
	ready   func(context.Context) error

	mu   sync.Mutex
	p    process
	held *heldThread // see HoldDisk
}

var killed = step{syscall.SIGKILL, 10 * time.Second}

// Name is as its log has it, such as bookie-0.
func (m *Member) Name() string { return m.name }

// Kill ends the server by SIGKILL, wherever it is, paused or not.
func (m *Member) Kill() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	// A process that is traced is not gone until its tracer knows.
	return errors.Join(m.freeDisk(), m.p.end(context.Background(), killed))
}

// Start starts the server on its ports and data, and returns when it is ready.
func (m *Member) Start(ctx context.Context) error {
	p, err := m.launch()
	if err != nil {
		return err
	}
	return m.c.stack.await(ctx, m.name, filepath.Join(pulsarDir, m.name+".log"), p, m.ready)
}

func (m *Member) launch() (process, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.c.stack.awaitPorts(m.name, m.ports...); err != nil {
		return process{}, err
	}
	// bin/pulsar replaces itself by java: the process id stays.
	cmd := exec.Command(filepath.Join(m.c.home, "bin", "pulsar"), m.command)
	cmd.Dir = m.c.dir()
	cmd.Env = m.env
	p, _, err := launch(cmd, filepath.Join(m.c.dir(), m.name+".log"))
	if err != nil {
		return p, ErrStart.Wrap(err, "%s", m.name)
	}
	m.p = p
	return p, m.c.stack.guard.kill(p, "KILL")
}

// Ended reports that the server is not there: it was killed, or has ended by itself.
func (m *Member) Ended() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.p.alive()
}

// Pause stops the server's process where it is, with its connections open.
func (m *Member) Pause() error { return m.signal(syscall.SIGSTOP) }

// Resume lets a paused server go on.
func (m *Member) Resume() error { return m.signal(syscall.SIGCONT) }

func (m *Member) signal(sig syscall.Signal) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.p.signal(sig)
}

// HoldDisk stops the thread of a bookie that writes the journal, as a disk does that does
// not answer: nothing more is acknowledged, while its session with ZooKeeper lives on.
func (m *Member) HoldDisk() (err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held != nil || !m.p.alive() {
		return nil
	}
	m.held, err = holdThread(m.p.PID, "BookieJournal")
	return err
}

// FreeDisk undoes HoldDisk.
func (m *Member) FreeDisk() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.freeDisk()
}

func (m *Member) freeDisk() error {
	held := m.held
	if m.held = nil; held == nil {
		return nil
	}
	return held.letGo()
}

package devstack

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// Stack is a running Postgres and Pulsar, or one of them. Its methods are safe
// for concurrent use.
//
// Invariants:
//  1. A server is in the guard's list before anybody waits for it, and in the
//     state file as soon as it runs.
//  2. What was given by its address is never stopped, started or removed.
type Stack struct {
	PostgresURL    string // of a superuser, with its password
	PulsarURL      string
	PulsarAdminURL string

	dir       string
	ephemeral bool
	timeout   time.Duration
	secure    *Secure // nil: without TLS
	margin    int64   // see Options.DiskMargin
	further   string  // Options.PulsarSettings
	guard     *guard  // nil once the servers are to outlive this process

	mu       sync.Mutex // guards state
	state    state
	progress sync.Mutex // serialises tell
	tell     func(string)
}

// Up starts what is wanted and not running yet, and returns when it is ready.
// Servers of this folder that run already are kept. When it fails or ctx ends,
// what it started is ended again.
func Up(ctx context.Context, o Options) (*Stack, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &Stack{PostgresURL: o.PostgresURL, PulsarURL: o.PulsarURL, PulsarAdminURL: o.PulsarAdminURL,
		ephemeral: o.Ephemeral, timeout: o.Timeout, secure: o.Secure, margin: o.DiskMargin, further: o.PulsarSettings, tell: o.Progress}
	if s.timeout == 0 {
		s.timeout = 2 * time.Minute
	}
	if !o.startsPostgres() && !o.startsPulsar() {
		return s, nil
	}
	if err := s.open(o.Dir); err != nil {
		return nil, err
	}
	unlock, err := lockDir(s.dir)
	if err != nil {
		return nil, errors.Join(err, s.guard.release())
	}
	defer unlock()
	var started []func(context.Context) error
	if err := s.up(ctx, o, &started); err != nil {
		return nil, errors.Join(err, s.undo(ctx, started))
	}
	if !s.ephemeral {
		if err := s.Keep(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// open makes the folder and the guard that cleans it up if this process dies.
func (s *Stack) open(dir string) (err error) {
	if s.dir, err = makeDir(dir); err != nil {
		return err
	}
	if s.guard, err = newGuard(); err != nil || !s.ephemeral {
		return err
	}
	for _, name := range ourNames {
		err = errors.Join(err, s.guard.remove(filepath.Join(s.dir, name)))
	}
	return errors.Join(err, s.guard.rmdir(s.dir))
}

// up starts both servers side by side. started collects how to end those that
// this call started.
func (s *Stack) up(ctx context.Context, o Options, started *[]func(context.Context) error) error {
	var err error
	if s.state, err = loadState(s.dir); err != nil {
		return err
	}
	if err := s.state.save(s.dir); err != nil { // marks the folder as a stack's
		return ErrFolder.Wrap(err, "write to it").At("%s", s.dir)
	}
	if err := s.writeAuthority(); err != nil {
		return ErrFolder.Wrap(err, "write to it").At("%s", s.dir)
	}
	g, ctx := errgroup.WithContext(ctx)
	if o.startsPostgres() {
		g.Go(func() error {
			return s.report("Postgres", func() error { return s.upPostgres(ctx, o.PGVersion, started) })
		})
	}
	if o.startsPulsar() {
		g.Go(func() error { return s.report("Pulsar", func() error { return s.upPulsar(ctx, started) }) })
	}
	return g.Wait()
}

func (s *Stack) upPostgres(ctx context.Context, version string, started *[]func(context.Context) error) error {
	p, err := s.state.Postgres, error(nil)
	running := p != nil && p.Process.alive()
	if !running {
		if p, err = s.preparePostgres(ctx, version); err != nil {
			return err
		}
	}
	address, err := s.postgresURL(p)
	if err != nil {
		return err
	}
	s.PostgresURL = address
	if running {
		return nil
	}
	err = s.record(func() error {
		s.state.Postgres = p
		err := s.launchPostgres(p)
		*started = append(*started, func(ctx context.Context) error { return endPostgres(ctx, p.Process) })
		return err
	})
	if err != nil {
		return err
	}
	return s.awaitPostgres(ctx, p)
}

func (s *Stack) upPulsar(ctx context.Context, started *[]func(context.Context) error) error {
	p, err := s.state.Pulsar, error(nil)
	running := p != nil && p.Process.alive()
	if !running {
		if p, err = s.preparePulsar(); err != nil {
			return err
		}
	}
	s.PulsarURL, s.PulsarAdminURL = s.pulsarURLs(p)
	if running {
		return nil
	}
	err = s.record(func() error {
		s.state.Pulsar = p
		err := s.launchPulsar(p)
		*started = append(*started, func(ctx context.Context) error { return endPulsar(ctx, p.Process) })
		return err
	})
	if err != nil {
		return err
	}
	return s.awaitPulsar(ctx, p)
}

// record changes the state and saves it, also when the change failed half way.
func (s *Stack) record(change func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(change(), s.state.save(s.dir))
}

// undo ends what a failed Up started.
func (s *Stack) undo(ctx context.Context, started []func(context.Context) error) error {
	var errs []error
	for _, end := range started {
		errs = append(errs, end(context.WithoutCancel(ctx)))
	}
	if s.ephemeral {
		errs = append(errs, removeOurs(s.dir, s.state))
	}
	return errors.Join(append(errs, s.guard.release())...)
}

// Keep makes the servers outlive this process: Down, from here or through Open,
// ends them.
func (s *Stack) Keep() error {
	s.ephemeral = false
	return s.guard.release()
}

// Open returns the stack of a folder, whether its servers run or not.
func Open(dir string) (*Stack, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &Stack{dir: dir, timeout: 2 * time.Minute}
	if s.state, err = loadState(dir); err != nil {
		return nil, err
	}
	if p := s.state.Postgres; p != nil {
		if s.PostgresURL, err = s.postgresURL(p); err != nil {
			return nil, err
		}
	}
	if p := s.state.Pulsar; p != nil {
		s.PulsarURL, s.PulsarAdminURL = p.urls()
	}
	return s, nil
}

// Dir returns the stack's folder; empty when nothing was started.
func (s *Stack) Dir() string { return s.dir }

// Environment returns the addresses as NAME=value, of those that are known.
func (s *Stack) Environment() []string {
	var lines []string
	for _, v := range [][2]string{{EnvPostgres, s.PostgresURL}, {EnvPulsar, s.PulsarURL}, {EnvPulsarAdmin, s.PulsarAdminURL}} {
		if v[1] != "" {
			lines = append(lines, v[0]+"="+v[1])
		}
	}
	return lines
}

// Down ends the servers: gracefully at first, by force when that takes longer
// than seconds or ctx ends. The data of an Ephemeral stack is removed. Calling
// it again does nothing.
func (s *Stack) Down(ctx context.Context) error {
	if s.dir == "" {
		return nil
	}
	if _, err := os.Stat(filepath.Join(s.dir, stateFile)); err != nil {
		return s.guard.release()
	}
	unlock, err := lockDir(s.dir)
	if err != nil {
		return err
	}
	defer unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	var g errgroup.Group
	if p := s.state.Postgres; p != nil {
		g.Go(func() error { return endPostgres(ctx, p.Process) })
	}
	if p := s.state.Pulsar; p != nil {
		g.Go(func() error { return endPulsar(ctx, p.Process) })
	}
	if err := g.Wait(); err != nil {
		return err // the guard stays on duty
	}
	if s.ephemeral {
		err = removeOurs(s.dir, s.state)
	}
	return errors.Join(err, s.guard.release())
}

// Remove removes the data of a stack that is down.
func (s *Stack) Remove() error {
	if s.dir == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, server := range s.servers() {
		if server.Running {
			return ErrBusy.New("%s is running", server.Name).At("%s", s.dir).Fix("Stop the stack first.")
		}
	}
	if _, err := os.Stat(filepath.Join(s.dir, stateFile)); err != nil {
		return nil
	}
	return removeOurs(s.dir, s.state)
}

// Tie ends the process group that pid leads together with an Ephemeral stack's
// servers when this process dies without Down.
func (s *Stack) Tie(pid int) error {
	if s.guard == nil {
		return nil
	}
	p, err := identify(pid)
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, os.ErrNotExist) {
		return nil // ended already
	}
	return errors.Join(err, s.guard.killGroup(p))
}

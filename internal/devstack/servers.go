package devstack

import (
	"context"
	"fmt"
	"path/filepath"
	"syscall"
	"time"
)

// Server is what `runnel dev status` shows of one server.
type Server struct {
	Name     string // "Postgres" or "Pulsar"
	Version  string
	Running  bool
	PID      int       // 0 when it does not run
	Since    time.Time // zero when it does not run
	URL      string    // Postgres' holds the superuser's password
	AdminURL string    // of Pulsar alone
	Log      string    // file
}

// Servers returns the servers of this stack's folder, running or not.
func (s *Stack) Servers() []Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.servers()
}

func (s *Stack) servers() []Server {
	var servers []Server
	add := func(server Server, p process) {
		if server.Running = p.alive(); server.Running {
			server.PID, server.Since = p.PID, p.started()
		}
		servers = append(servers, server)
	}
	if p := s.state.Postgres; p != nil {
		add(Server{Name: "Postgres", Version: p.Version, URL: s.PostgresURL, Log: filepath.Join(s.dir, postgresLog)}, p.Process)
	}
	if p := s.state.Pulsar; p != nil {
		add(Server{Name: "Pulsar", Version: PulsarVersion, URL: s.PulsarURL, AdminURL: s.PulsarAdminURL,
			Log: filepath.Join(s.dir, pulsarLog)}, p.Process)
	}
	return servers
}

func (p *pulsarState) urls() (service, admin string) {
	return fmt.Sprintf("pulsar://127.0.0.1:%d", p.Broker), fmt.Sprintf("http://127.0.0.1:%d", p.Web)
}

// KillBroker ends Pulsar by SIGKILL, with its bookie and ZooKeeper, anywhere but
// in the middle of a system call: SIGKILL would cut a write to the bookie's journal
// short, and what it leaves cannot be read any more (deploy/pulsar/standalone.conf).
func (s *Stack) KillBroker() error {
	p, err := s.process(func() *process { return pulsarProcess(s.state) })
	if err != nil {
		return err
	}
	if err := p.freeze(2 * time.Second); err != nil {
		return err
	}
	return p.end(context.Background(), step{syscall.SIGKILL, 10 * time.Second})
}

// StartBroker starts Pulsar again on the same ports and data, and returns when
// it is ready.
func (s *Stack) StartBroker(ctx context.Context) error {
	if _, err := s.process(func() *process { return pulsarProcess(s.state) }); err != nil {
		return err
	}
	err := s.record(func() error { return s.launchPulsar(s.state.Pulsar) })
	if err != nil {
		return err
	}
	return s.awaitPulsar(ctx, s.state.Pulsar)
}

// RestartBroker is KillBroker and StartBroker.
func (s *Stack) RestartBroker(ctx context.Context) error {
	if err := s.KillBroker(); err != nil {
		return err
	}
	return s.StartBroker(ctx)
}

// PauseBroker stops Pulsar's process where it is, with its connections open.
func (s *Stack) PauseBroker() error { return s.signalBroker(syscall.SIGSTOP) }

// ResumeBroker lets a paused Pulsar go on.
func (s *Stack) ResumeBroker() error { return s.signalBroker(syscall.SIGCONT) }

func (s *Stack) signalBroker(sig syscall.Signal) error {
	p, err := s.process(func() *process { return pulsarProcess(s.state) })
	if err != nil {
		return err
	}
	return p.signal(sig)
}

// KillPostgres ends Postgres at once, with all its sessions: a crash, from
// which it recovers when it is started again.
func (s *Stack) KillPostgres() error {
	p, err := s.process(func() *process { return postgresProcess(s.state) })
	if err != nil {
		return err
	}
	return p.end(context.Background(), step{syscall.SIGQUIT, 5 * time.Second}, step{syscall.SIGKILL, 5 * time.Second})
}

// StopPostgres ends Postgres in order: it waits for walsenders to have sent all.
func (s *Stack) StopPostgres(ctx context.Context) error {
	p, err := s.process(func() *process { return postgresProcess(s.state) })
	if err != nil {
		return err
	}
	return endPostgres(ctx, p)
}

// StartPostgres starts Postgres again on the same port and data, and returns
// when it answers.
func (s *Stack) StartPostgres(ctx context.Context) error {
	if _, err := s.process(func() *process { return postgresProcess(s.state) }); err != nil {
		return err
	}
	err := s.record(func() error { return s.launchPostgres(s.state.Postgres) })
	if err != nil {
		return err
	}
	return s.awaitPostgres(ctx, s.state.Postgres)
}

// RestartPostgres is KillPostgres and StartPostgres.
func (s *Stack) RestartPostgres(ctx context.Context) error {
	if err := s.KillPostgres(); err != nil {
		return err
	}
	return s.StartPostgres(ctx)
}

// process returns a server's process; a server that is not ours is a fault.
func (s *Stack) process(of func() *process) (process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := of(); p != nil {
		return *p, nil
	}
	return process{}, ErrNotOurs.New("the server was not started by this stack")
}

func postgresProcess(s state) *process {
	if s.Postgres == nil {
		return nil
	}
	return &s.Postgres.Process
}

func pulsarProcess(s state) *process {
	if s.Pulsar == nil {
		return nil
	}
	return &s.Pulsar.Process
}

package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// daemon is `runnel run` as a process of its own.
type daemon struct {
	cmd    *exec.Cmd
	log    string     // its log file
	http   string     // address of health, metrics and status
	exited chan error // why it ended; whoever takes it puts it back
}

// start starts the daemon and waits until it streams. Passwords travel in the
// environment: arguments can be read by everybody on the machine.
func (d *demo) startDaemon(ctx context.Context) error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	args := []string{"run", "--auto-apply", "--name", d.source.name, "--schemas", filepath.Join(d.dir, "schemas"), "--http", address}
	cmd := exec.Command(d.Binary, args...)
	cmd.Env = append(os.Environ(),
		"RUNNEL_POSTGRES_URL="+d.source.daemonURL, "RUNNEL_PULSAR_URL="+d.Servers.PulsarURL,
		"RUNNEL_PULSAR_ADMIN_URL="+d.Servers.PulsarAdminURL, "RUNNEL_TOPICS_NAMESPACE="+d.namespace(), "RUNNEL_ROLES_OWNER="+d.source.name+"_owner",
		"RUNNEL_ROLES_WRITER="+d.source.name+"_writer", "RUNNEL_ROLES_DAEMON="+d.source.name+"_daemon", "NO_COLOR=1")
	cmd.Dir = d.dir // no runnel.yaml of the caller's
	// A process group of its own: the terminal's Ctrl-C must reach the demo
	// only, which then stops the daemon in order. It dies with the demo.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &daemon{cmd: cmd, log: filepath.Join(d.dir, "daemon.log"), http: address, exited: make(chan error, 1)}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	if err := p.launch(); err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	d.daemon = p
	d.later(func(ctx context.Context) error { return p.stop(ctx) })
	return p.ready(ctx)
}

// launch starts the process on a thread that lives as long as it does: the
// signal at the parent's death is sent when the starting thread ends.
func (p *daemon) launch() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		if err = p.cmd.Wait(); err == nil {
			err = errors.New("it ended")
		}
		p.exited <- fmt.Errorf("%w; its log ends:\n%s", err, tail(p.log, 2000))
	}()
	return <-started
}

// ready waits until the daemon says that it streams.
func (p *daemon) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-p.exited:
			p.exited <- err
			return fmt.Errorf("the daemon did not start: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("the daemon does not stream: %w; its log ends:\n%s", ctx.Err(), tail(p.log, 2000))
		case <-tick.C:
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.http+"/readyz", nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			continue
		}
		var st struct{ State, Code, Message, Remedy string }
		err = json.NewDecoder(response.Body).Decode(&st)
		_ = response.Body.Close()
		switch {
		case err != nil:
		case response.StatusCode == http.StatusOK:
			return nil
		case st.State == "halted":
			return fmt.Errorf("the daemon halted: %s %s; %s", st.Code, st.Message, st.Remedy)
		}
	}
}

// stop asks the daemon to end, and ends it if it does not.
func (p *daemon) stop(ctx context.Context) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
	grace, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	select {
	case err := <-p.exited:
		p.exited <- err
		return nil // as it was asked to
	case <-grace.Done():
		_ = p.cmd.Process.Kill()
		return fmt.Errorf("the daemon did not stop by itself: %w", <-p.exited)
	}
}

// tail returns the end of a file.
func tail(name string, n int) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	if len(data) > n {
		data = data[len(data)-n:]
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			data = data[i+1:]
		}
	}
	return string(bytes.TrimSpace(data))
}

package demo

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/runnel-cdc/runnel/internal/child"
)

// daemon is `runnel run` as a process of its own.
type daemon struct {
	*child.Process
	log  string // its log file
	http string // address of health, metrics and status
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
	p := &daemon{log: filepath.Join(d.dir, "daemon.log"), http: address}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	if p.Process, err = child.Start(cmd, nil); err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	d.daemon = p
	d.later(func(ctx context.Context) error { return p.stop(ctx) })
	return p.ready(ctx)
}

// ended says why the daemon is gone.
func (p *daemon) ended() error {
	return fmt.Errorf("%w; its log ends:\n%s", cmp.Or(p.Err(), errors.New("it ended")), tail(p.log, 2000))
}

// ready waits until the daemon says that it streams.
func (p *daemon) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.Done():
			return fmt.Errorf("the daemon did not start: %w", p.ended())
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
	p.Signal(syscall.SIGTERM)
	grace, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	select {
	case <-p.Done():
		return nil // as it was asked to
	case <-grace.Done():
		p.Kill()
		return fmt.Errorf("the daemon did not stop by itself: %w", p.ended())
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

package bench

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/runnel-cdc/runnel/internal/child"
)

// daemon is `runnel run`, as a user runs it.
type daemon struct {
	*child.Process
	log     string
	http    string
	client  http.Client
	started time.Time
}

// startDaemon starts a pipeline with a namespace of its own name.
func (r *rig) startDaemon(s *source, pipeline, schemas string, env ...string) (*daemon, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &daemon{log: filepath.Join(r.dir, pipeline+".log"), http: l.Addr().String()}
	_ = l.Close()
	cmd := exec.Command(r.Binary, "run", "--auto-apply", "--name", pipeline, "--schemas", schemas, "--http", d.http)
	if r.Profiles != "" {
		folder := filepath.Join(r.Profiles, pipeline)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return nil, err
		}
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		cmd = exec.Command(self, append([]string{"daemon"}, cmd.Args[1:]...)...)
		cmd.Env = append(os.Environ(), ProfilesVariable+"="+folder)
	}
	cmd.Dir = r.dir // no runnel.yaml of the caller's
	cmd.Env = append(cmd.Environ(), "RUNNEL_POSTGRES_URL="+s.daemon, "RUNNEL_PULSAR_URL="+r.stack.PulsarURL,
		"RUNNEL_PULSAR_ADMIN_URL="+r.stack.PulsarAdminURL, "RUNNEL_TOPICS_NAMESPACE="+namespace(pipeline), "NO_COLOR=1")
	cmd.Env = append(cmd.Env, env...)
	d.started = time.Now()
	d.Process, err = launch(cmd, d.log)
	return d, err
}

// launch starts a process that writes what it says to the end of a log.
func launch(cmd *exec.Cmd, log string) (*child.Process, error) {
	to, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = to.Close() }()
	cmd.Stdout, cmd.Stderr = to, to
	p, err := child.Start(cmd, nil)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

func namespace(pipeline string) string { return "public/" + pipeline }

// status is what the daemon says of itself; the zero one while it does not answer.
type status struct {
	State, Code, Message string
	Published            int
	Run                  int
}

func (d *daemon) status(ctx context.Context) (st status, err error) {
	if !d.Alive() {
		return st, fmt.Errorf("the daemon: %w; its log ends:\n%s", cmp.Or(d.Err(), errors.New("it ended")), lastLines(d.log))
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.http+"/status", nil)
	if err != nil {
		return st, err
	}
	response, err := d.client.Do(request)
	if err != nil {
		return st, ctx.Err()
	}
	defer func() { _ = response.Body.Close() }()
	if err := json.NewDecoder(response.Body).Decode(&st); err != nil {
		return st, ctx.Err()
	}
	if st.State == "halted" {
		return st, fmt.Errorf("the daemon halted: %s %s", st.Code, st.Message)
	}
	return st, nil
}

const lookInterval = 10 * time.Millisecond

// await looks at the daemon's status until done says so.
func (d *daemon) await(ctx context.Context, done func(status) bool) error {
	var st status
	err := every(ctx, func() (_ bool, err error) {
		if st, err = d.status(ctx); err != nil {
			return false, err
		}
		return done(st), nil
	})
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("the daemon is %s, %d published: %w; its log ends:\n%s", st.State, st.Published, err, lastLines(d.log))
	}
	return err
}

// every looks again and again until look says that it is done.
func every(ctx context.Context, look func() (done bool, err error)) error {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for {
		done, err := look()
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func (d *daemon) published(ctx context.Context) (int, error) {
	st, err := d.status(ctx)
	return st.Published, err
}

// allocations returns how many the process has made so far.
func (d *daemon) allocations(ctx context.Context) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.http+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := d.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), "go_memstats_mallocs_total "); ok {
			return strconv.ParseFloat(v, 64)
		}
	}
	return 0, errors.New("the daemon's metrics do not count allocations")
}

func (d *daemon) begun() time.Time { return d.started }

// stop asks the daemon to end.
func (d *daemon) stop(ctx context.Context) error {
	if err := stop(ctx, d.Process, d.log); err != nil {
		return err
	}
	return d.Err()
}

// stop asks a process to end, and waits for that.
func stop(ctx context.Context, p *child.Process, log string) error {
	p.Signal(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	select {
	case <-p.Done():
		return nil
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("it did not stop; its log ends:\n%s", lastLines(log))
	}
}

// usage is what a process has used so far.
type usage struct {
	CPU    time.Duration
	Memory int64 // the most, resident, bytes
}

// clockTick is the unit of /proc/PID/stat: USER_HZ, 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

func usageOf(pid int) (u usage, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // from the third on
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(string(f))
		if err != nil {
			return u, err
		}
		u.CPU += time.Duration(n) * clockTick
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	for line := range bytes.Lines(text) {
		if v, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			kib, err := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(v), []byte(" kB"))), 10, 64)
			if err != nil {
				return u, err
			}
			u.Memory = kib << 10
		}
	}
	return u, nil
}

// lastLines returns the end of a log.
func lastLines(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(data[max(0, len(data)-2000):]))
}

package torture

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/runnel-cdc/runnel/internal/child"
	"github.com/runnel-cdc/runnel/internal/failpoint"
	"github.com/runnel-cdc/runnel/internal/pipeline"
)

// process is a child: a daemon or a projection, running this same program.
type process struct {
	*child.Process
	name  string
	stdin io.WriteCloser
	http  string
	fired chan failpoint.Report // rules, in the order in which they fired
	peak  atomic.Int64          // resident memory, bytes
}

// maxFired is more rules than are ever armed in one process.
const maxFired = 4096

// spawn starts a child of the given role. Its log goes to a file of the run's
// folder. It dies with this process.
func (r *runner) spawn(ctx context.Context, role string, s settings, rules string) (*process, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	if role == roleDaemon {
		s.HTTP = address
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	p := &process{name: fmt.Sprintf("%s-%d", role, len(r.spawned)+1), http: address, fired: make(chan failpoint.Report, maxFired)}
	cmd := exec.Command(r.o.Binary, role)
	cmd.Env = append(os.Environ(), settingsVariable+"="+string(text), failpoint.Variable+"="+rules)
	log, err := os.OpenFile(filepath.Join(r.o.Dir, role+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	_, _ = fmt.Fprintf(log, "--- %s %s %s\n", time.Now().Format(time.RFC3339Nano), p.name, rules)
	cmd.Stderr = log
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	// A pipe of our own: what the process wrote before it died is read to the end.
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = in
	p.Process, err = child.Start(cmd, func() { p.listen(out) })
	if closed := in.Close(); err != nil {
		return nil, errors.Join(err, out.Close(), closed)
	}
	r.spawned = append(r.spawned, p)
	if role == roleDaemon {
		go p.watchMemory()
	}
	return p, nil
}

// listen reads the lines of failpoints until the process is gone.
func (p *process) listen(out *os.File) {
	defer func() { _ = out.Close() }()
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var report failpoint.Report
		if text, ok := strings.CutPrefix(lines.Text(), failpoint.Prefix); ok && json.Unmarshal([]byte(text), &report) == nil {
			p.fired <- report
		}
	}
}

// arm adds rules to a running process.
func (p *process) arm(rules string) error {
	_, err := io.WriteString(p.stdin, rules+"\n")
	return err
}

// awaitRule waits until a rule has fired.
func (p *process) awaitRule(ctx context.Context, rule string, limit time.Duration) (failpoint.Report, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case report := <-p.fired:
			if report.Rule == rule {
				return report, nil
			}
		case <-timer.C:
			return failpoint.Report{}, fmt.Errorf("%s did not fire in %s within %s", rule, p.name, limit)
		case <-ctx.Done():
			return failpoint.Report{}, context.Cause(ctx)
		}
	}
}

// gone waits until the process has ended by itself.
func (p *process) gone(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.Done():
		return nil
	case <-timer.C:
		return fmt.Errorf("%s did not end within %s", p.name, limit)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// terminated reports whether the process was ended by SIGTERM: it was asked to end
// before it had come so far as to listen for that.
func (p *process) terminated() bool {
	exit, ok := errors.AsType[*exec.ExitError](p.Err())
	if !ok {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGTERM
}

// status asks a daemon; the zero value when it does not answer.
func (p *process) status(ctx context.Context) (st pipeline.Status) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.http+"/status", nil)
	if err != nil {
		return st
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return st
	}
	defer func() { _ = response.Body.Close() }()
	if json.NewDecoder(response.Body).Decode(&st) != nil {
		return pipeline.Status{}
	}
	return st
}

// stopped reports whether the kernel has stopped the process.
func (p *process) stopped() bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	_, after, ok := strings.Cut(string(text), ") ")
	return err == nil && ok && strings.HasPrefix(after, "T")
}

// freeAddress returns a loopback address that was free a moment ago.
func freeAddress(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

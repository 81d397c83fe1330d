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
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/runnel-cdc/runnel/internal/failpoint"
	"github.com/runnel-cdc/runnel/internal/pipeline"
)

// process is a child: a daemon or a projection, running this same program.
type process struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	http   string
	fired  chan failpoint.Report // rules, in the order in which they fired
	exited chan struct{}         // closed when it is gone
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
	r.spawned++
	p := &process{name: fmt.Sprintf("%s-%d", role, r.spawned), cmd: exec.Command(r.o.Binary, role), http: address,
		fired: make(chan failpoint.Report, maxFired), exited: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), settingsVariable+"="+string(text), failpoint.Variable+"="+rules)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	log, err := os.OpenFile(filepath.Join(r.o.Dir, role+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	_, _ = fmt.Fprintf(log, "--- %s %s %s\n", time.Now().Format(time.RFC3339Nano), p.name, rules)
	p.cmd.Stderr = log
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	// A pipe of our own: what the process wrote before it died is read to the end.
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout = in
	err = p.launch(out)
	return p, errors.Join(err, in.Close())
}

// launch starts the process on a thread that lives as long as it does: the
// signal at the parent's death is sent when the starting thread ends.
func (p *process) launch(out *os.File) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			_ = out.Close()
			return
		}
		p.listen(out)
		_ = p.cmd.Wait() // how it ended is told by its log
		close(p.exited)
	}()
	return <-started
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

// signal sends a signal; the process may be gone.
func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// kill ends the process and waits for it.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.exited
}

// gone waits until the process has ended by itself.
func (p *process) gone(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.exited:
		return nil
	case <-timer.C:
		return fmt.Errorf("%s did not end within %s", p.name, limit)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *process) alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
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
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
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

package securestack_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// folder is for what tests share; it goes with the servers.
var folder string

// binary builds the program, once.
func binary(t *testing.T) string {
	t.Helper()
	name := filepath.Join(folder, "runnel")
	if _, err := os.Stat(name); err == nil {
		return name
	}
	if out, err := exec.Command("go", "build", "-o", name, "../../cmd/runnel").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return name
}

// program is the binary, run as a person or systemd would: in a folder with a
// runnel.yaml for each duty, and with no RUNNEL_ variable.
type program struct {
	t      *testing.T
	binary string
	dir    string
	env    []string
}

func newProgram(t *testing.T) *program {
	t.Helper()
	p := &program{t: t, dir: t.TempDir(), binary: binary(t)}
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "RUNNEL_") && !strings.HasPrefix(entry, "PG") {
			p.env = append(p.env, entry)
		}
	}
	return p
}

// as is the same with further variables.
func (p *program) as(variables ...string) *program {
	other := *p
	other.env = append(slices.Clone(p.env), variables...)
	return &other
}

// write writes a file that its owner alone may read.
func (p *program) write(name, content string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

func (p *program) command(args ...string) *exec.Cmd {
	cmd := exec.Command(p.binary, args...)
	cmd.Dir, cmd.Env = p.dir, p.env
	return cmd
}

// run runs a command to its end, and keeps its output for the search for
// secrets.
func (p *program) run(code int, args ...string) (stdout string) {
	p.t.Helper()
	var out, errs bytes.Buffer
	cmd := p.command(args...)
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, &written), io.MultiWriter(&errs, &written)
	err := cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != code {
		p.t.Fatalf("%q: exit code %d, want %d (%v)\n%s%s", args, got, code, err, out.String(), errs.String())
	}
	return out.String()
}

// apply applies the catalog of a configuration, as the provisioner does.
func (p *program) apply(config string) {
	p.t.Helper()
	var planned struct{ Result struct{ Hash string } }
	if err := json.Unmarshal([]byte(p.run(0, "schemas", "plan", "--config", config, "-o", "json")), &planned); err != nil {
		p.t.Fatal(err)
	}
	p.run(0, "schemas", "apply", "--config", config, "--plan", planned.Result.Hash)
}

// daemon starts `runnel run`, waits until it streams, and returns how to stop it.
func (p *program) daemon(address string, args ...string) (stop func()) {
	p.t.Helper()
	var log lines
	cmd := p.command(append([]string{"run", "--http", address}, args...)...)
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&log, &written), io.MultiWriter(&log, &written)
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := <-exited; err != nil {
			p.t.Errorf("the daemon: %v\n%s", err, log.String())
		}
	}
	p.t.Cleanup(stop)
	eventually(p.t, "the daemon to stream: "+strings.Join(args, " "), func() bool {
		ready := false
		for _, path := range []string{"/readyz", "/status", "/metrics"} {
			status, body := get(p.t, "http://"+address+path)
			_, _ = fmt.Fprintln(&written, body)
			ready = ready || path == "/readyz" && status == http.StatusOK
		}
		return ready
	})
	return stop
}

func get(t *testing.T, address string) (status int, body string) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(address)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	return response.StatusCode, string(data)
}

// listening returns an address of this machine that is free.
func listening(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// arguments are those of every process of this machine.
func arguments(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		text, _ := os.ReadFile(f) // it may be gone
		all.Write(bytes.ReplaceAll(text, []byte{0}, []byte{' '}))
		all.WriteByte('\n')
	}
	return all.String()
}

func superuserPassword() string {
	u, err := url.Parse(stack.PostgresURL)
	if err != nil {
		return ""
	}
	password, _ := u.User.Password()
	return password
}

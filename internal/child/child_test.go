package child

import (
	"bufio"
	"os/exec"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStart(t *testing.T) {
	cmd := exec.Command("sh", "-c", "echo one; echo two; exit 3")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	p, err := Start(cmd, func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			lines = append(lines, s.Text())
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if len(lines) != 2 || lines[1] != "two" {
		t.Errorf("read %q before the process was waited for", lines)
	}
	if p.Alive() || cmd.ProcessState.ExitCode() != 3 || p.Err() == nil {
		t.Errorf("alive %t, exit code %d, %v", p.Alive(), cmd.ProcessState.ExitCode(), p.Err())
	}
	if _, err := Start(exec.Command("/does/not/exist"), nil); err == nil {
		t.Error("a program that does not exist was started")
	}
}

func TestKill(t *testing.T) {
	p, err := Start(exec.Command("sleep", "600"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Alive() {
		t.Error("it ended by itself")
	}
	group, err := syscall.Getpgid(p.PID())
	if err != nil || group != p.PID() {
		t.Errorf("its process group is %d, want its own, %d: %v", group, p.PID(), err)
	}
	p.Kill()
	p.Kill()
	if p.Alive() {
		t.Error("it was not killed")
	}
}

//go:build failpoints

package failpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestMain makes the test's binary the victim when it is asked to.
func TestMain(m *testing.M) {
	if os.Getenv(Variable) == "" {
		os.Exit(m.Run())
	}
	for range 5 {
		Hit("other")
		Hit("point")
	}
}

func victim(t *testing.T, rules string) (lines []Report, state *os.ProcessState) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), Variable+"="+rules)
	var out bytes.Buffer
	cmd.Stdout = &out
	_ = cmd.Run() // how it ended is in its state
	for line := range strings.Lines(out.String()) {
		var r Report
		if text, ok := strings.CutPrefix(line, Prefix); ok && json.Unmarshal([]byte(text), &r) == nil {
			lines = append(lines, r)
		}
	}
	return lines, cmd.ProcessState
}

func TestKillTellsFirst(t *testing.T) {
	lines, state := victim(t, "point:2:note,point:3:kill")
	if len(lines) != 2 || lines[1].Rule != "point:3:kill" || lines[1].Hits["point"] != 3 || lines[1].Hits["other"] != 3 {
		t.Errorf("it said %+v", lines)
	}
	if status := state.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Errorf("it ended with %v", state)
	}
}

func TestErrorOnce(t *testing.T) {
	if err := Arm("here:2:error"); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, true, false} {
		if err := Error("here"); errors.Is(err, ErrInjected) != want {
			t.Errorf("hit %d: %v", i+1, err)
		}
	}
}

func TestRefusedRules(t *testing.T) {
	for _, text := range []string{"a", "a:0:kill", "a:x:kill", "a:1:explode"} {
		if Arm(text) == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

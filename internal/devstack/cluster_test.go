package devstack

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestClusterOptions: an ensemble that no number of bookies can make is refused, before
// anything is started.
func TestClusterOptions(t *testing.T) {
	for _, o := range []ClusterOptions{{Bookies: 2}, {Ensemble: 2, Ack: 3}, {Bookies: 3, Ensemble: 4}} {
		if c, err := UpCluster(t.Context(), o); !errors.Is(err, ErrStart) {
			t.Errorf("%+v: %v %v", o, c, err)
		}
	}
}

// TestCluster starts what a broker would stand on: each server is known, on loopback
// alone, and can be killed, started and paused; strangers do not get into ZooKeeper;
// nothing is left.
func TestCluster(t *testing.T) {
	needSetup(t)
	c, err := newCluster(ClusterOptions{Bookies: 1, Ensemble: 1, Ack: 1, Timeout: 4 * time.Minute,
		Progress: func(text string) { t.Log(text) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Down(); err != nil {
			t.Error(err)
		}
	})
	if err := c.upMetadata(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Bookies[0].Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Member{c.ZooKeeper, c.Bookies[0]} {
		for _, port := range m.ports {
			if at := listens(t, m.p.PID, port); at != "0100007F" {
				t.Errorf("%s listens at %q on port %d", m.Name(), at, port)
			}
		}
	}
	if strangerGetsIn(t, c.ZooKeeper.ports[0]) {
		t.Error("ZooKeeper takes sessions without a password")
	}
	bookie := c.Bookies[0]
	before := bookie.p
	if err := errors.Join(bookie.Pause(), bookie.p.freeze(10*time.Second)); err != nil || !bookie.p.frozen() {
		t.Errorf("paused: %v", err)
	}
	if err := bookie.Resume(); err != nil {
		t.Error(err)
	}
	switch err := bookie.HoldDisk(); {
	case errors.Is(err, syscall.EPERM):
		t.Log("no process may be traced here: ", err)
	case err != nil:
		t.Error(err)
	default:
		if journal, err := threadOf(bookie.p.PID, "BookieJournal"); err != nil || threadState(t, bookie.p.PID, journal) != "t" {
			t.Errorf("the journal's thread goes on (%v)", err)
		}
		if err := errors.Join(bookie.HoldDisk(), bookie.FreeDisk(), bookie.FreeDisk(), bookie.HoldDisk()); err != nil {
			t.Error(err)
		}
	}
	if err := errors.Join(bookie.Kill(), bookie.Start(t.Context())); err != nil || before.alive() || !bookie.p.alive() {
		t.Errorf("killed and started again: %v", err)
	}
	for range 2 {
		if err := c.Down(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(c.stack.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the data stays behind: %v", err)
	}
}

// listens returns the address, as the kernel writes it, on which a port of the process
// is open, or "".
func listens(t *testing.T, pid, port int) string {
	t.Helper()
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) < 4 || fields[3] != "0A" { // LISTEN
				continue
			}
			if at, hex, _ := strings.Cut(fields[1], ":"); hex == fmt.Sprintf("%04X", port) {
				return at
			}
		}
	}
	return ""
}

func threadState(t *testing.T, pid, tid int) string {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/stat", pid, tid))
	if err != nil {
		t.Fatal(err)
	}
	_, state, err := parseStat(string(stat))
	if err != nil {
		t.Fatal(err)
	}
	return state
}

package torture_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/testserver"
)

// TestTorture is one short run; `make torture` makes longer ones. It has servers
// of its own, because it kills them.
func TestTorture(t *testing.T) {
	if err := devstack.Installed(t.Context(), devstack.Options{Postgres: true, Pulsar: true}); err != nil {
		if os.Getenv(testserver.Servers) == "required" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "torture")
	if out, err := exec.Command("go", "build", "-tags", "failpoints", "-o", binary, "./cmd/torture").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	const faults = "kill@capture.snapshot,topic.unload,postgres.crash,kill@pipeline.sent,terminate,kill@pipeline.acked," +
		"kill@broker.tail,kill@broker.settled,two,pause,error@broker.send,copy.kill"
	// Kept when the run fails: it is what tells why.
	history, err := os.MkdirTemp("", "runnel-torture-")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, binary, "run", "-seed", "12", "-faults", faults, "-pace", "100ms", "-before", "1000", "-dir", history)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it ends its servers
	cmd.WaitDelay = 30 * time.Second
	err = cmd.Run()
	t.Logf("%s", out.String())
	if err != nil {
		t.Fatalf("%v; the history is in %s", err, history)
	}
	if err := os.RemoveAll(history); err != nil {
		t.Error(err)
	}
}

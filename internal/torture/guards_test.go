package torture

import (
	"os"
	"path/filepath"
	"testing"
)

func TestGuards(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := readGuards(dir); err == nil {
		t.Error("no logs, and no error")
	}
	write("copy.log", "level=INFO msg=\"pulsar client: x\"\n")
	write("daemon.log", "level=WARN msg=\"starting over\" error=\"BROKER_STALLED it did not answer\"\n")
	if said, err := readGuards(dir); err != nil || len(said) != 0 {
		t.Errorf("%v, %v", said, err)
	}
	write("daemon.log", "one\nlevel=WARN error=\"p: PULSAR_ACK_ORDER p: first\"\nlevel=WARN error=\"p: PULSAR_ACK_ORDER p: second\"")
	write("copy.log", "level=ERROR code=PROJECTION_GAP\n")
	said, err := readGuards(dir)
	if err != nil || len(said) != 2 || said["PULSAR_ACK_ORDER"] != "level=WARN error=\"p: PULSAR_ACK_ORDER p: first\"" || said["PROJECTION_GAP"] == "" {
		t.Errorf("%v, %v", said, err)
	}
}

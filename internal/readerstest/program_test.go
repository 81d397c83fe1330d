package readerstest

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"

	"github.com/runnel-cdc/runnel/internal/readerstest/programs"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		programs.Clean()
		os.Exit(code)
	}))
}

// patience bounds whatever a reader is waited for.
const patience = programs.Patience

// database is a copy's, looked at with neither of the readers.
type database struct {
	t    *testing.T
	run  *programs.Runtime
	file string
}

// script runs a script that finds the database opened as db, and returns what it
// prints.
func (d database) script(script string) string {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	script = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], timeout=30)\n" + script
	out, err := exec.CommandContext(ctx, d.run.Python, "-c", script, d.file).CombinedOutput()
	if err != nil {
		d.t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

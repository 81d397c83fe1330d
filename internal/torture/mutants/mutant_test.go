package mutants

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/torture"
)

const root = "../../.."

// TestPatchesApply keeps the mutants in step with the code: a patch that does not
// apply shows nothing.
func TestPatchesApply(t *testing.T) {
	all, err := Load("patches")
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		m := &all[i]
		patch, err := filepath.Abs(m.Patch)
		if err != nil {
			t.Fatal(err)
		}
		check := exec.CommandContext(t.Context(), "git", "apply", "--check", patch)
		check.Dir = root
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", m.Name, err, out)
		}
		if err := torture.ValidFaults(m.Faults); m.Faults != "" && err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
		for _, check := range m.Checks {
			if !torture.IsCheck(check) {
				t.Errorf("%s: the judge has no check %q", m.Name, check)
			}
		}
		if m.Test == "" {
			continue
		}
		files, err := filepath.Glob(filepath.Join(root, m.Package, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			found = found || strings.Contains(string(text), "func "+m.Test+"(t *testing.T)")
		}
		if !found {
			t.Errorf("%s: %s has no %s", m.Name, m.Package, m.Test)
		}
	}
}

func TestParse(t *testing.T) {
	const diff = "\ndiff --git a/x b/x\n"
	m, err := parse("It forgets\nthings.\n\nFaults: kill*2,two\nChecks: lost, copy\n" + diff)
	if err != nil || m.Bug != "It forgets things." || m.Faults != "kill*2,two" || len(m.Checks) != 2 || m.Checks[1] != "copy" {
		t.Fatalf("%+v, %v", m, err)
	}
	saw := func(fired int, checks ...string) *torture.Verdict {
		v := &torture.Verdict{Fired: fired, Counts: map[string]int{}}
		for _, c := range checks {
			v.Counts[c] = 3
		}
		return v
	}
	if !m.caughtBy(saw(1, "copy", "liveness"), false) || m.caughtBy(saw(1, "liveness"), true) || m.caughtBy(saw(1), false) || m.caughtBy(saw(0, "copy"), false) {
		t.Fatal("caught by what was not to be found, or not by what was")
	}
	m, err = parse("It forgets.\n\nFaults: kill\nChecks: order\n" + diff)
	if err != nil || !m.caughtBy(saw(0, "order"), false) || m.caughtBy(saw(0, "copy"), false) {
		t.Fatalf("what is wrong in a topic is wrong before any fault: %+v, %v", m, err)
	}
	m, err = parse("It forgets.\n\nFaults: kill\nHalts: SOME_CODE\n" + diff)
	if err != nil || m.Halts != "SOME_CODE" {
		t.Fatalf("%+v, %v", m, err)
	}
	if !m.caughtBy(saw(0, "guard"), true) || m.caughtBy(saw(1, "guard"), false) || m.caughtBy(saw(1, "faults"), true) {
		t.Fatal("caught by what was not to be found, or not by what was")
	}
	m, err = parse("It forgets.\n\nTest: ./a TestB\nNeeds: servers\n" + diff)
	if err != nil || m.Package != "./a" || m.Test != "TestB" || !m.Servers {
		t.Fatalf("%+v, %v", m, err)
	}
	for _, bad := range []string{
		"It forgets.\n\nFaults: kill\nChecks: lost\n", // no diff
		"It forgets.\n" + diff,
		"\n\nTest: ./a TestB\n" + diff,
		"It forgets.\n\nFaults: kill\n" + diff,
		"It forgets.\n\nFaults: kill\nChecks: lost\nHalts: A\n" + diff,
		"It forgets.\n\nTest: ./a TestB\nHalts: A\n" + diff,
		"It forgets.\n\nFaults: kill\nChecks: lost,\n" + diff,
		"It forgets.\n\nFaults: kill\nChecks: lost\nTest: ./a TestB\n" + diff,
		"It forgets.\n\nFaults: kill\nTest: ./a TestB\n" + diff,
		"It forgets.\n\nTest: ./a\n" + diff,
		"It forgets.\n\nTest: ./a TestB\nNeeds: luck\n" + diff,
		"It forgets.\n\nFault: kill\n" + diff,
	} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/doctor"
	"github.com/runnel-cdc/runnel/internal/fault"
)

var update = flag.Bool("update", os.Getenv("UPDATE_GOLDEN") != "", "rewrite golden files")

// run runs a command line in this process, with nothing of the environment.
func run(t *testing.T, d deps, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return runContext(t.Context(), d, args...)
}

func runContext(ctx context.Context, d deps, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	a := &app{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, environ: []string{"LANG=C.UTF-8"}, deps: d}
	return a.main(ctx, args), out.String(), errs.String()
}

// commands walks the whole tree.
func commands(t *testing.T, visit func(cmd *cobra.Command, words []string)) {
	t.Helper()
	a := &app{output: "text", color: "auto", deps: realDeps()}
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		visit(cmd, strings.Fields(cmd.CommandPath())[1:])
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(a.root())
}

func TestEveryCommandIsDocumented(t *testing.T) {
	t.Chdir(t.TempDir())
	n := 0
	commands(t, func(cmd *cobra.Command, _ []string) {
		n++
		if cmd.Short == "" || cmd.Long == "" || cmd.Example == "" {
			t.Errorf("%s lacks Short, Long or Example", cmd.CommandPath())
		}
		if !strings.Contains(cmd.Example, "runnel ") || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: the example names no command, or Short ends with a period", cmd.CommandPath())
		}
	})
	if n < 18 {
		t.Errorf("only %d commands", n)
	}
}

// Every command refuses an unknown flag and a superfluous argument with code
// USAGE, exit code 2 and an envelope that names the command.
func TestEveryCommandRefusesNonsense(t *testing.T) {
	t.Chdir(t.TempDir())
	commands(t, func(cmd *cobra.Command, words []string) {
		for _, extra := range [][]string{{"--no-such-flag"}, {"one", "two-too-many"}, {"-o", "yaml"}} {
			args := append(append([]string{}, words...), extra...)
			code, stdout, stderr := run(t, deps{}, args...)
			if code != 2 || stdout != "" || !strings.HasPrefix(stderr, "USAGE ") || !strings.Contains(stderr, "→ ") {
				t.Errorf("%q: exit code %d, stdout %q, stderr %q", args, code, stdout, stderr)
			}
			if extra[0] == "-o" {
				continue
			}
			code, stdout, stderr = run(t, deps{}, append([]string{"-o", "json"}, args...)...)
			var e envelope
			if err := json.Unmarshal([]byte(stdout), &e); err != nil || code != 2 || stderr != "" {
				t.Errorf("%q: exit code %d, %v, stdout %q, stderr %q", args, code, err, stdout, stderr)
				continue
			}
			if e.OK || e.Error.Code != "USAGE" || e.Error.Remedy == "" || e.Command != strings.Join(words, " ") && words[0] != "help" {
				t.Errorf("%q: %s", args, stdout)
			}
		}
	})
}

// The help of the whole tree is a golden file: a change of it is a change of
// what people rely on. UPDATE_GOLDEN=1 rewrites it.
func TestHelpGolden(t *testing.T) {
	const golden = "testdata/help.golden"
	var all strings.Builder
	commands(t, func(_ *cobra.Command, words []string) {
		code, stdout, stderr := run(t, deps{}, append(words, "--help")...)
		if code != 0 || stderr != "" {
			t.Errorf("%q: exit code %d, %s", words, code, stderr)
		}
		all.WriteString(">>> runnel " + strings.Join(append(words, "--help"), " ") + "\n" + stdout + "\n")
	})
	if *update {
		if err := os.WriteFile(golden, []byte(all.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	got, old := strings.Split(all.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(got), len(old)) {
		if i >= len(got) || i >= len(old) || got[i] != old[i] {
			t.Fatalf("the help differs from %s at line %d; if that is meant, run with UPDATE_GOLDEN=1\nnow: %q\nwas: %q",
				golden, i+1, got[min(i, len(got)-1)], old[min(i, len(old)-1)])
		}
	}
}

// Each class of error gives its exit code, in text and in an envelope.
func TestExitCodes(t *testing.T) {
	t.Chdir(t.TempDir())
	some := fault.Define("SOME_FAULT", fault.Environment, "a cause", "a remedy")
	cancelled, cancel := context.WithCancelCause(t.Context())
	cancel(interrupted{2})
	for _, tc := range []struct {
		name string
		ctx  context.Context
		err  error
		exit int
		code string
	}{
		{"fine", t.Context(), nil, 0, ""},
		{"plain", t.Context(), errors.New("broken"), 1, "FAILED"},
		{"input", t.Context(), config.ErrValue.New("wrong").At("f:1:2"), 2, "CONFIG_VALUE"},
		{"environment", t.Context(), some.New("no"), 3, "SOME_FAULT"},
		{"bare code", t.Context(), some, 3, "SOME_FAULT"},
		{"wrapped", t.Context(), errors.Join(some.New("one"), errors.New("two")), 3, "SOME_FAULT"},
		{"interrupted", cancelled, context.Canceled, 130, "INTERRUPTED"},
		{"interrupted by cause", cancelled, context.Cause(cancelled), 130, "INTERRUPTED"},
		{"stopped well", cancelled, nil, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := deps{runDemo: func(context.Context, demoOptions) error { return tc.err }}
			if code, _, stderr := runContext(tc.ctx, d, "demo"); code != tc.exit || (tc.code == "") != (stderr == "") {
				t.Errorf("exit code %d, stderr %q", code, stderr)
			}
			code, stdout, _ := runContext(tc.ctx, d, "demo", "-o=json")
			var e envelope
			if err := json.Unmarshal([]byte(stdout), &e); err != nil || code != tc.exit || e.OK != (tc.exit == 0) || e.Command != "demo" {
				t.Fatalf("exit code %d, %v, %s", code, err, stdout)
			}
			if tc.code != "" && (e.Error.Code != tc.code || e.Error.Remedy == "" || e.Error.Message == "") {
				t.Errorf("%+v", e.Error)
			}
		})
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	t.Chdir(t.TempDir())
	_, stdout, _ := run(t, deps{}, "run", "-o", "json", "--http", "x", "--log-level", "x")
	var e envelope
	if err := json.Unmarshal([]byte(stdout), &e); err != nil || len(e.Error.More) != 1 || e.Error.Path != "--log-level" || e.Error.More[0].Path != "--http" {
		t.Errorf("%v: %s", err, stdout)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestOutputFailure(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var errs bytes.Buffer
		a := &app{stdout: brokenWriter{}, stderr: &errs, deps: deps{}}
		if code := a.main(t.Context(), []string{"version", "-o", format}); code != 1 || !strings.HasPrefix(errs.String(), "OUTPUT_FAILED") {
			t.Errorf("%s: exit code %d, %s", format, code, errs.String())
		}
	}
}

func TestDoctorExit(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, tc := range []struct {
		results string
		exit    int
	}{
		{`[{"name":"a","status":"pass"},{"name":"b","status":"warn"},{"name":"c","status":"skip"}]`, 0},
	} {
		d := deps{doctor: func(context.Context, *config.Config, ...string) (doctor.Report, error) {
			var r doctor.Report
			err := json.Unmarshal([]byte(tc.results), &r.Results)
			return r, err
		}}
		if code, stdout, _ := run(t, d, "doctor"); code != tc.exit || !strings.Contains(stdout, "1 passed, 1 warning, 0 failed, 1 skipped") {
			t.Errorf("exit code %d: %s", code, stdout)
		}
	}
}

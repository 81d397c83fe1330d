package devstack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/fault"
)

func TestFreePorts(t *testing.T) {
	ports, err := freePorts(50)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(ports)
	if len(slices.Compact(ports)) != 50 || ports[0] < lowestPort || ports[49] >= highestPort {
		t.Fatalf("ports: %v", ports)
	}
}

func TestParseVersion(t *testing.T) {
	for out, want := range map[string]int{
		"postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n": 15, "postgres (PostgreSQL) 18.6\n": 18, "postgres (PostgreSQL) 19beta1": 19,
	} {
		if got, err := parseVersion(out); err != nil || got != want {
			t.Errorf("%q: %d %v", out, got, err)
		}
	}
	if _, err := parseVersion("nothing"); err == nil {
		t.Error("nothing is a version")
	}
}

// fakePostgres makes programs in the cache that only tell their version.
func fakePostgres(t *testing.T, cache string, major int) {
	t.Helper()
	bin := filepath.Join(cache, fmt.Sprintf("postgres-%d.0", major), "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"initdb", "postgres"} {
		script := fmt.Sprintf("#!/bin/sh\necho 'postgres (PostgreSQL) %d.0'\n", major)
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFindPostgres(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "a[b]*c") // a pattern's characters in a path
	t.Setenv("RUNNEL_CACHE", cache)
	for _, major := range []int{14, 90, 91} {
		fakePostgres(t, cache, major)
	}
	if got, err := findPostgres(t.Context(), ""); err != nil || got.major != 91 {
		t.Errorf("newest: %v %v", got, err)
	}
	if got, err := findPostgres(t.Context(), "90"); err != nil || got.bin != filepath.Join(cache, "postgres-90.0", "bin") {
		t.Errorf("asked: %v %v", got, err)
	}
	for _, version := range []string{"14", "92", "x"} {
		_, err := findPostgres(t.Context(), version)
		if !errors.Is(err, ErrNotSetUp) {
			t.Errorf("%s: %v", version, err)
		}
		if f := fault.Find(err); version == "92" && f.WhatToDo() != "Run PG=92 ./setup." {
			t.Errorf("remedy: %s", f.WhatToDo())
		}
	}
}

func TestCacheDir(t *testing.T) {
	t.Setenv("RUNNEL_CACHE", "")
	t.Setenv("XDG_CACHE_HOME", "relative is ignored")
	t.Setenv("HOME", "/h")
	if got, err := CacheDir(); err != nil || got != "/h/.cache/runnel" {
		t.Error(got, err)
	}
	t.Setenv("XDG_CACHE_HOME", "/x")
	if got, err := CacheDir(); err != nil || got != "/x/runnel" {
		t.Error(got, err)
	}
	t.Setenv("RUNNEL_CACHE", "/r")
	if got, err := CacheDir(); err != nil || got != "/r" {
		t.Error(got, err)
	}
	t.Setenv("RUNNEL_CACHE", "")
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	if _, err := CacheDir(); !errors.Is(err, ErrNotSetUp) {
		t.Error(err)
	}
}

func TestReaches(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can run a server as another user")
	}
	as := account{uid: 65534, gid: 65534, other: true}
	open, err := os.MkdirTemp("/tmp", "runnel-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(open) })
	below := filepath.Join(open, "below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	if as.reaches(below) {
		t.Error("reaches below a folder that is root's alone")
	}
	if err := os.Chmod(open, 0o711); err != nil {
		t.Fatal(err)
	}
	if !as.reaches(below) {
		t.Error("does not reach an open folder")
	}
	if as.reaches(filepath.Join(below, "absent")) {
		t.Error("reaches what is not there")
	}
}

func TestOptions(t *testing.T) {
	given := Options{Postgres: true, Pulsar: true, PostgresURL: "postgres://mine"}.FromEnvironment(func(name string) string { return "env:" + name })
	if given.PostgresURL != "postgres://mine" || given.PulsarURL != "env:RUNNEL_PULSAR_URL" || given.PulsarAdminURL != "env:RUNNEL_PULSAR_ADMIN_URL" {
		t.Fatalf("%+v", given)
	}
	s, err := Up(t.Context(), given)
	if err != nil {
		t.Fatal(err)
	}
	if s.Dir() != "" || len(s.Servers()) != 0 || len(s.Environment()) != 3 {
		t.Errorf("something was started: %+v", s)
	}
	for _, err := range []error{s.KillBroker(), s.PauseBroker(), s.StartBroker(t.Context()), s.RestartPostgres(t.Context()), s.StartPostgres(t.Context())} {
		if !errors.Is(err, ErrNotOurs) {
			t.Errorf("a given server: %v", err)
		}
	}
	if err := errors.Join(s.Down(t.Context()), s.Remove(), s.Keep()); err != nil {
		t.Error(err)
	}
}

func TestRefusedOptions(t *testing.T) {
	foreign := t.TempDir()
	if err := os.Mkdir(filepath.Join(foreign, postgresDir), 0o755); err != nil {
		t.Fatal(err)
	}
	garbled := t.TempDir()
	if err := os.WriteFile(filepath.Join(garbled, stateFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		options Options
		want    error
	}{
		"half of Pulsar": {Options{Pulsar: true, Ephemeral: true, PulsarURL: "pulsar://x"}, ErrGiven},
		"no folder":      {Options{Postgres: true}, ErrFolder},
		"a blank":        {Options{Postgres: true, Dir: "/tmp/a b"}, ErrFolder},
		"not a stack's":  {Options{Postgres: true, Dir: foreign}, ErrFolder},
		"garbled state":  {Options{Postgres: true, Dir: garbled}, ErrFolder},
		"no such server": {Options{Postgres: true, Dir: t.TempDir(), PGVersion: "99"}, ErrNotSetUp},
	} {
		if _, err := Up(t.Context(), c.options); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPulsarNotSetUp(t *testing.T) {
	t.Setenv("RUNNEL_CACHE", t.TempDir())
	dir := filepath.Join(t.TempDir(), "stack")
	_, err := Up(t.Context(), Options{Pulsar: true, Ephemeral: true, Dir: dir})
	if !errors.Is(err, ErrNotSetUp) || fault.Find(err).WhatToDo() != "Run ./setup." {
		t.Fatalf("%v", err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder stays behind: %v", err)
	}
}

func TestBusy(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Up(t.Context(), Options{Postgres: true, Dir: dir}); !errors.Is(err, ErrBusy) {
		t.Errorf("locked: %v", err)
	}
	unlock()
	if unlock, err = lockDir(dir); err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	text := strings.Repeat(strings.Repeat("x", 999)+"\n", 100) + "last\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(tail(path), "\n")
	if len(lines) != tailLines || lines[tailLines-1] != "  last" || len(lines[0]) != 202 {
		t.Errorf("%d lines: %q", len(lines), lines)
	}
	if got := tail(path + ".absent"); !strings.Contains(got, "no such file") {
		t.Error(got)
	}
}

func TestFaultsAreListedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, code := range Faults {
		if seen[code.ID] || code.Remedy == "" || !strings.HasPrefix(code.ID, "STACK_") {
			t.Errorf("%s", code.ID)
		}
		seen[code.ID] = true
	}
}

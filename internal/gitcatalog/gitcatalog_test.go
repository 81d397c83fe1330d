package gitcatalog

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/fault"
)

// repository makes a git repository of its own, whatever the user's settings are.
func repository(t *testing.T) (root string, git func(args ...string)) {
	t.Helper()
	root = t.TempDir()
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	t.Setenv("GIT_CONFIG_SYSTEM", os.DevNull)
	git = func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git("init", "-q", "-b", "main")
	return root, git
}

func write(t *testing.T, root, name, text string) {
	t.Helper()
	full := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func avsc(name string) bool { return strings.HasSuffix(name, ".avsc") }

func TestRead(t *testing.T) {
	root, git := repository(t)
	write(t, root, "shop/schemas/A.avsc", "first")
	write(t, root, "shop/schemas/deep/B ü.avsc", "")
	write(t, root, "shop/schemas/notes.txt", "no schema")
	write(t, root, "shop/schemas/.gitattributes", "*.avsc export-ignore")
	write(t, root, "other/C.avsc", "elsewhere")
	if err := os.Symlink("A.avsc", filepath.Join(root, "shop/schemas/L.avsc")); err != nil {
		t.Fatal(err)
	}
	git("add", "-A")
	git("commit", "-qm", "one")
	git("tag", "v1")
	write(t, root, "shop/schemas/A.avsc", "second")
	write(t, root, "new/D.avsc", "not committed")
	dir := filepath.Join(root, "shop", "schemas")

	files, found, err := Read(t.Context(), dir, "v1", avsc)
	if err != nil || !found {
		t.Fatalf("%t, %v", found, err)
	}
	got := map[string]string{}
	err = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(files, name)
		got[name] = string(text)
		return err
	})
	if err != nil || len(got) != 2 || got["A.avsc"] != "first" || got["deep/B ü.avsc"] != "" {
		t.Errorf("%q, %v", got, err)
	}
	if _, found, err := Read(t.Context(), filepath.Join(root, "new"), "main", avsc); found || err != nil {
		t.Errorf("a folder that the commit does not have: %t, %v", found, err)
	}
	write(t, root, "empty/notes.txt", "")
	git("add", "-A")
	git("commit", "-qm", "two")
	if _, found, err := Read(t.Context(), filepath.Join(root, "empty"), "main", avsc); found || err != nil {
		t.Errorf("a folder with no such file: %t, %v", found, err)
	}
	if files, found, err := Read(t.Context(), root, "main", avsc); err != nil || !found || files == nil {
		t.Errorf("the whole repository: %t, %v", found, err)
	}
	// A tree that is missing is no folder that is missing.
	object := filepath.Join(root, ".git", "objects")
	if out, err := exec.Command("git", "-C", root, "rev-parse", "v1:shop").Output(); err != nil {
		t.Fatal(err)
	} else if id := strings.TrimSpace(string(out)); os.Remove(filepath.Join(object, id[:2], id[2:])) != nil {
		t.Fatal("the tree is no file")
	}
	if _, found, err := Read(t.Context(), dir, "v1", avsc); !errors.Is(err, ErrGit) {
		t.Errorf("a broken repository: %t, %v", found, err)
	}
	for _, ref := range []string{"nothing", "--output=x", "", "v1^{tree}", "main:shop"} {
		if _, _, err := Read(t.Context(), dir, ref, avsc); !errors.Is(err, ErrRef) && !errors.Is(err, ErrGit) {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

// What a workflow checks out is one commit of one branch; what is said to be done there
// helps.
func TestShallowClone(t *testing.T) {
	root, git := repository(t)
	write(t, root, "schemas/A.avsc", "first")
	git("add", "-A")
	git("commit", "-qm", "one")
	git("branch", "release/1")
	git("switch", "-qc", "change")
	git("commit", "-qm", "two", "--allow-empty")
	clone := t.TempDir()
	git("clone", "-q", "--depth", "1", "--branch", "change", "file://"+root, clone)

	for _, ref := range []string{"origin/main", "origin/release/1"} {
		_, _, err := Read(t.Context(), clone, ref, avsc)
		if !errors.Is(err, ErrRef) {
			t.Fatalf("%s: %v", ref, err)
		}
		_, rest, _ := strings.Cut(fault.Find(err).WhatToDo(), "fetch it first: `git ")
		command, _, _ := strings.Cut(rest, "`")
		git(append([]string{"-C", clone}, strings.Fields(command)...)...)
		if _, _, err := Read(t.Context(), clone, ref, avsc); err != nil {
			t.Errorf("%s, after git %s: %v", ref, command, err)
		}
	}
	for _, ref := range []string{"origin/a b", "origin/$(x)", "origin/", "main"} { // nothing that a shell would run
		if _, _, err := Read(t.Context(), clone, ref, avsc); !errors.Is(err, ErrRef) || fault.Find(err).Remedy != "" {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

func TestNoRepository(t *testing.T) {
	t.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(t.TempDir()))
	if _, _, err := Read(t.Context(), t.TempDir(), "main", avsc); !errors.Is(err, ErrGit) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Read(ctx, t.TempDir(), "main", avsc); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add("100644 blob 0123\tA.avsc\x00", []byte("0123 blob 3\nabc\n"))
	f.Add("100644 blob 0123\tA.avsc\x00", []byte("0123 missing\n"))
	f.Add("100644 blob 0123\tA.avsc\x00", []byte("0123 blob 99999999999\nabc\n"))
	f.Fuzz(func(t *testing.T, listing string, contents []byte) {
		names, objects := parse(listing, avsc)
		if len(names) != len(objects) {
			t.Fatal(names, objects)
		}
		if files, err := pack(names, contents); err == nil && files == nil {
			t.Error("nothing, and no error")
		}
	})
}

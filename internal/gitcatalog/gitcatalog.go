// Package gitcatalog reads a catalog of schemas as it is in a commit of the git
// repository that its folder lies in. It calls the git command, reads objects only, and
// looks at neither the index nor the work tree, so that it can run in any checkout.
//
// Start with Read.
package gitcatalog

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/runnel-cdc/runnel/internal/fault"
)

// The faults of this package.
var (
	ErrRef = fault.Define("GIT_REF_UNKNOWN", fault.Input,
		"The git repository has no such commit, branch or tag.",
		"Name one that `git log` knows. In a shallow clone, fetch it first: `git fetch origin main:refs/remotes/origin/main` for origin/main, `git fetch --unshallow` for an older commit.")
	ErrGit = fault.Define("GIT_FAILED", fault.Environment,
		"The git command is missing, failed, or the folder is in no repository.",
		"Install git, and run in a checkout; or compare with a folder.")
)

// Faults lists the package's fault codes.
var Faults = []*fault.Code{ErrRef, ErrGit}

// maxBytes bounds what is read of a commit.
const maxBytes = 64 << 20

// Read returns the files of dir, which lies in a checkout, as they are in the commit
// that ref names: their names are relative to dir. Only regular files whose name wanted
// accepts are read. found is false when the commit has no such folder, or none in it.
//
// Errors: ErrRef, ErrGit; and what ends ctx.
func Read(ctx context.Context, dir, ref string, wanted func(name string) bool) (files fs.FS, found bool, err error) {
	r := reader{ctx, dir}
	prefix, err := r.git(nil, "rev-parse", "--show-prefix")
	if err != nil {
		return nil, false, err
	}
	commit, err := r.commit(ref)
	if err != nil {
		return nil, false, err
	}
	// From here on nothing that was given is part of a command.
	tree, folder := commit, strings.TrimSuffix(strings.TrimSuffix(string(prefix), "\n"), "/")
	if folder != "" {
		// Nothing listed is a folder that is not there; whatever else goes wrong is an error.
		entry, err := r.git(nil, "--literal-pathspecs", "ls-tree", "--full-tree", "-z", tree, "--", folder)
		if err != nil || len(entry) == 0 {
			return nil, false, noisy(err)
		}
		tree += ":" + folder
	}
	listing, err := r.git(nil, "ls-tree", "--full-tree", "-r", "-z", tree)
	if err != nil {
		return nil, false, noisy(err)
	}
	names, objects := parse(string(listing), wanted)
	if len(names) == 0 {
		return nil, false, nil
	}
	contents, err := r.git(strings.NewReader(strings.Join(objects, "\n")+"\n"), "cat-file", "--batch")
	if err != nil {
		return nil, false, noisy(err)
	}
	files, err = pack(names, contents)
	return files, true, err
}

// Has reports whether dir lies in a checkout whose repository knows a commit as ref.
// Without git, nothing is known.
func Has(ctx context.Context, dir, ref string) bool {
	_, err := reader{ctx, dir}.commit(ref)
	return err == nil
}

// commit returns the object that a reference names.
func (r reader) commit(ref string) (string, error) {
	object, err := r.git(nil, "rev-parse", "--verify", "--quiet", "--end-of-options", ref+"^{commit}")
	if errors.Is(err, errQuiet) {
		unknown := ErrRef.New("%.200q", ref).At("%s", r.dir)
		if branch, ok := strings.CutPrefix(ref, "origin/"); ok && plainName.MatchString(branch) {
			// Without the second half, git fetch leaves the branch in FETCH_HEAD alone.
			unknown = unknown.Fix("Name one that `git log` knows. In a shallow clone, fetch it first: `git fetch origin %s:refs/remotes/%s`.", branch, ref)
		}
		err = unknown
	}
	return strings.TrimSpace(string(object)), err
}

// plainName is of branches that no shell takes for something else.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./-]*$`)

type reader struct {
	ctx context.Context
	dir string
}

// errQuiet is an exit without a word.
var errQuiet = errors.New("git said no")

// noisy gives an exit without a word a fault of its own.
func noisy(err error) error {
	if errors.Is(err, errQuiet) {
		return ErrGit.New("git failed without saying why")
	}
	return err
}

// git runs one command in the folder.
func (r reader) git(stdin io.Reader, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(r.ctx, "git", args...)
	cmd.Dir, cmd.Stdin = r.dir, stdin
	// In a partial clone git may fetch: it is not to ask for a password, nor to keep us
	// when it is ended.
	cmd.Env, cmd.WaitDelay = append(cmd.Environ(), "GIT_TERMINAL_PROMPT=0"), 5*time.Second
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &limited{w: &out, left: maxBytes}, &limited{w: &complaint, left: 1 << 10}
	err := cmd.Run()
	switch {
	case r.ctx.Err() != nil:
		return nil, context.Cause(r.ctx)
	case err == nil:
		return out.Bytes(), nil
	case complaint.Len() == 0 && cmd.ProcessState != nil && cmd.ProcessState.Exited():
		return nil, errQuiet
	}
	said, _, _ := strings.Cut(strings.TrimSpace(complaint.String()), "\n")
	return nil, ErrGit.Wrap(err, "git %s: %s", args[0], said).At("%s", r.dir)
}

// limited fails when more is written than there is room for.
type limited struct {
	w    *bytes.Buffer
	left int
}

// Write implements io.Writer.
func (l *limited) Write(b []byte) (int, error) {
	if l.left -= len(b); l.left < 0 {
		return 0, errors.New("git printed too much")
	}
	return l.w.Write(b)
}

// parse reads what ls-tree -z prints: "<mode> blob <object>\t<name>", each ended by NUL.
func parse(listing string, wanted func(string) bool) (names, objects []string) {
	for line := range strings.SplitSeq(listing, "\x00") {
		about, name, ok := strings.Cut(line, "\t")
		parts := strings.Fields(about)
		if ok && len(parts) == 3 && parts[1] == "blob" && strings.HasPrefix(parts[0], "100") && wanted(name) {
			names, objects = append(names, name), append(objects, parts[2])
		}
	}
	return names, objects
}

// pack makes a file system of what cat-file --batch prints: "<object> blob <size>\n",
// the content, a line's end, for each.
func pack(names []string, contents []byte) (fs.FS, error) {
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	r := bufio.NewReader(bytes.NewReader(contents))
	for _, name := range names {
		header, err := r.ReadString('\n')
		parts := strings.Fields(header)
		if err != nil || len(parts) != 3 || parts[1] != "blob" {
			return nil, ErrGit.New("git cat-file answered %.100q for %s", header, name)
		}
		size, err := strconv.ParseInt(parts[2], 10, 64)
		if err != nil || size < 0 || size > maxBytes {
			return nil, ErrGit.New("git cat-file answered %.100q for %s", header, name)
		}
		file, err := w.CreateHeader(&zip.FileHeader{Name: name})
		if err == nil {
			_, err = io.CopyN(file, r, size)
		}
		if err == nil {
			_, err = r.Discard(1)
		}
		if err != nil {
			return nil, ErrGit.Wrap(err, "reading %s", name)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return zip.NewReader(bytes.NewReader(archive.Bytes()), int64(archive.Len()))
}

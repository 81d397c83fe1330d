package devstack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// PulsarVersion is the version of the Pulsar distribution that ./setup installs.
const PulsarVersion = "4.0.8"

// oldestPostgres is the first major version with what Runnel needs.
const oldestPostgres = 15

// CacheDir returns where ./setup keeps what it downloads:
// $RUNNEL_CACHE, or runnel in $XDG_CACHE_HOME, or in ~/.cache.
func CacheDir() (string, error) {
	if dir := os.Getenv("RUNNEL_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "runnel"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", ErrNotSetUp.Wrap(err, "no cache folder").Fix("Set RUNNEL_CACHE to a folder, then run ./setup.")
	}
	return filepath.Join(home, ".cache", "runnel"), nil
}

// Installed returns nil if everything is here that Up would start for o, and
// else a fault that says to run ./setup.
func Installed(ctx context.Context, o Options) error {
	var errs []error
	if o.startsPostgres() {
		_, err := findPostgres(ctx, o.PGVersion)
		errs = append(errs, err)
	}
	if o.startsPulsar() {
		_, err := PulsarHome()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// PulsarHome returns the home of the Pulsar distribution, if it and a Java are
// there.
func PulsarHome() (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	home := filepath.Join(cache, "apache-pulsar-"+PulsarVersion)
	if _, err := os.Stat(filepath.Join(home, "bin", "pulsar")); err != nil {
		return "", ErrNotSetUp.New("Pulsar %s is not in %s", PulsarVersion, cache)
	}
	java := "java"
	if home := os.Getenv("JAVA_HOME"); home != "" {
		java = filepath.Join(home, "bin", "java") // as bin/pulsar chooses
	}
	if _, err := exec.LookPath(java); err != nil {
		return "", ErrNotSetUp.Wrap(err, "no Java")
	}
	return home, nil
}

// installation is a folder with initdb and postgres.
type installation struct {
	bin   string
	major int
}

// findPostgres returns the newest installation, or the newest of the asked
// major version ("" for any).
func findPostgres(ctx context.Context, version string) (installation, error) {
	asked := 0
	if version != "" {
		var err error
		if asked, err = strconv.Atoi(version); err != nil || asked < oldestPostgres {
			return installation{}, ErrNotSetUp.New("Postgres %q is not a major version of %d or newer", version, oldestPostgres).
				Fix("Ask for one such as 17.")
		}
	}
	var found []installation
	for _, bin := range postgresFolders(ctx) {
		major, err := postgresMajor(ctx, bin)
		if err == nil && major >= oldestPostgres && (asked == 0 || asked == major) {
			found = append(found, installation{bin, major})
		}
	}
	if ctx.Err() != nil {
		return installation{}, ctx.Err() // the programs were not asked, or not to the end
	}
	if len(found) == 0 {
		if asked != 0 {
			return installation{}, ErrNotSetUp.New("no Postgres %d", asked).Fix("Run PG=%d ./setup.", asked)
		}
		return installation{}, ErrNotSetUp.New("no Postgres of %d or newer", oldestPostgres)
	}
	// Stable: of equal versions the machine's own comes before the cache's.
	slices.SortStableFunc(found, func(a, b installation) int { return cmp.Compare(b.major, a.major) })
	return found[0], nil
}

// postgresFolders lists folders that may hold the server's programs: those of
// PATH, of pg_config, of Debian's packages, of ./setup's cache.
func postgresFolders(ctx context.Context) []string {
	var folders []string
	if path, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			folders = append(folders, filepath.Dir(real))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		folders = append(folders, strings.TrimSpace(string(out)))
	}
	patterns := []string{"/usr/lib/postgresql/*/bin"}
	if cache, err := CacheDir(); err == nil {
		patterns = append(patterns, filepath.Join(escapeGlob(cache), "postgres-*", "bin"))
	}
	for _, pattern := range patterns {
		matches, _ := filepath.Glob(pattern) // the only error is a bad pattern
		folders = append(folders, matches...)
	}
	return folders
}

func escapeGlob(path string) string {
	return regexp.MustCompile(`[\\*?[]`).ReplaceAllString(path, `\$0`)
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// postgresMajor asks the programs in bin for their version.
func postgresMajor(ctx context.Context, bin string) (int, error) {
	if _, err := os.Stat(filepath.Join(bin, "initdb")); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(bin, "postgres"), "--version").Output()
	if err != nil {
		return 0, err
	}
	return parseVersion(string(out))
}

// parseVersion reads `postgres (PostgreSQL) 15.14 (Debian ...)`.
func parseVersion(out string) (int, error) {
	match := versionPattern.FindStringSubmatch(out)
	if match == nil {
		return 0, fmt.Errorf("not a version: %q", out)
	}
	return strconv.Atoi(match[1])
}

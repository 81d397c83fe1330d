package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// findReceiver finds pg_recvlogical, which Postgres' client packages have.
func findReceiver() (string, error) {
	if path, err := exec.LookPath("pg_recvlogical"); err == nil {
		return path, nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pg_recvlogical")
	if len(found) == 0 {
		return "", errors.New("pg_recvlogical is not installed: it comes with Postgres' client programs")
	}
	return found[len(found)-1], nil
}

// receive reads a slot up to the end by pg_recvlogical, which throws it away: how fast
// Postgres decodes.
func (s *source) receive(ctx context.Context, slot, publication, end string) (took, cpu time.Duration, err error) {
	path, err := findReceiver()
	if err != nil {
		return 0, 0, err
	}
	// The password is in the environment: arguments can be read by everybody on the machine.
	u, password, err := withoutPassword(s.url)
	if err != nil {
		return 0, 0, err
	}
	cmd := exec.CommandContext(ctx, path, "-d", u, "-S", slot, "--start", "-f", os.DevNull, "-E", end, "-n", "-F", "0",
		"-o", "proto_version=1", "-o", "publication_names="+publication, "-o", "binary=true")
	cmd.Env = append(os.Environ(), "PGPASSWORD="+password)
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, 0, fmt.Errorf("pg_recvlogical: %w: %s", err, out)
	}
	return time.Since(began), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

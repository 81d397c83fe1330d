package devstack

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// await calls try until it succeeds, the server dies, or the timeout is over.
// The last lines of the log are in the fault.
func (s *Stack) await(ctx context.Context, name, log string, p process, try func(context.Context) error) error {
	limit, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var last error
	died := false
	err := poll(limit, 50*time.Millisecond, func() bool {
		if died = !p.alive(); died {
			return true
		}
		attempt, cancel := context.WithTimeout(limit, 10*time.Second)
		defer cancel()
		last = try(attempt)
		return last == nil
	})
	path := filepath.Join(s.dir, log)
	switch {
	case died:
		return ErrStart.New("%s ended by itself:\n%s", name, tail(path)).At("%s", path)
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return ErrNotReady.Wrap(errors.Join(last, err), "%s is not ready after %v:\n%s", name, s.timeout, tail(path)).At("%s", path)
	}
}

// report tells how long work took.
func (s *Stack) report(name string, work func() error) error {
	begin := time.Now()
	s.say("%s: starting", name)
	if err := work(); err != nil {
		return err
	}
	s.say("%s: ready after %.1f s", name, time.Since(begin).Seconds())
	return nil
}

func (s *Stack) say(format string, args ...any) {
	s.progress.Lock()
	defer s.progress.Unlock()
	if s.tell != nil {
		s.tell(fmt.Sprintf(format, args...))
	}
}

// tailLines and tailBytes bound what of a log is shown.
const (
	tailLines = 15
	tailBytes = 64 << 10
)

// tail returns the last lines of a log, each cut to 200 bytes.
func tail(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err == nil && info.Size() > tailBytes {
		_, _ = file.Seek(-tailBytes, 2)
	}
	data := make([]byte, tailBytes)
	n, _ := file.Read(data)
	lines := bytes.Split(bytes.TrimSpace(data[:n]), []byte("\n"))
	lines = lines[max(0, len(lines)-tailLines):]
	text := make([]string, 0, tailLines)
	for _, line := range lines {
		text = append(text, "  "+string(line[:min(len(line), 200)]))
	}
	return strings.Join(text, "\n")
}

// serverEnvironment is this process' environment without what would change the
// servers' settings behind the back of their files.
func serverEnvironment() []string {
	var kept []string
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "PULSAR_") || strings.HasPrefix(name, "PG") || strings.HasPrefix(name, "RUNNEL_") ||
			strings.HasPrefix(name, "BK_") || strings.HasPrefix(name, "BOOKIE_") || strings.HasPrefix(name, "LC_") || name == "OPTS" || name == "CLASSPATH" || name == "LANG" {
			continue
		}
		kept = append(kept, entry)
	}
	return append(kept, "LC_ALL=C")
}

func randomHex(n int) (string, error) {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		return "", err
	}
	return hex.EncodeToString(b), nil
}

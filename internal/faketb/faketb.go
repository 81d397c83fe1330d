// Package faketb is for tests of test helpers: it runs one that should fail, and
// tells how it did. Examples of such helpers use it too.
package faketb

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// tb stands in for a test. Methods that it does not have panic.
type tb struct {
	testing.TB
	ctx context.Context

	mu       sync.Mutex
	failures []string
	cleanups []func()
}

// Run calls f with a test of its own, and then the test's cleanups. It returns what
// the test failed for, "" when it passed.
func Run(ctx context.Context, f func(testing.TB)) string {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b := &tb{ctx: ctx}
	guarded := func(f func()) {
		var wg sync.WaitGroup
		wg.Go(f) // which Fatal ends
		wg.Wait()
	}
	guarded(func() { f(b) })
	for len(b.cleanups) > 0 {
		last := b.cleanups[len(b.cleanups)-1]
		b.cleanups = b.cleanups[:len(b.cleanups)-1]
		guarded(last)
	}
	return strings.Join(b.failures, "\n")
}

func (b *tb) fail(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures = append(b.failures, strings.TrimSuffix(text, "\n"))
}

// The methods of testing.TB that helpers use.

func (b *tb) Helper()                   {}
func (b *tb) Context() context.Context  { return b.ctx }
func (b *tb) Output() io.Writer         { return io.Discard }
func (b *tb) Cleanup(f func())          { b.cleanups = append(b.cleanups, f) }
func (b *tb) Log(...any)                {}
func (b *tb) Logf(string, ...any)       {}
func (b *tb) Error(args ...any)         { b.fail(fmt.Sprintln(args...)) }
func (b *tb) Errorf(f string, a ...any) { b.fail(fmt.Sprintf(f, a...)) }
func (b *tb) Fatal(args ...any)         { b.fail(fmt.Sprintln(args...)); runtime.Goexit() }
func (b *tb) Fatalf(f string, a ...any) { b.fail(fmt.Sprintf(f, a...)); runtime.Goexit() }
func (b *tb) Failed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.failures) > 0
}

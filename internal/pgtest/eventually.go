package pgtest

import (
	"fmt"
	"testing"
	"time"
)

// Eventually waits until cond holds, looking every 10 ms from the test's own
// goroutine, and fails the test after timeout. The optional what says for
// what it waited: a format and its arguments, or functions that return a
// string, called when the wait failed.
func Eventually(t testing.TB, timeout time.Duration, cond func() bool, what ...any) {
	t.Helper()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline.C:
			if cond() { // a slow machine: look a last time
				return
			}
			t.Fatalf("not within %v: %s", timeout, describe(what))
		case <-tick.C:
		}
	}
}

func describe(what []any) string {
	if len(what) == 0 {
		return "the condition"
	}
	for i, w := range what {
		if late, ok := w.(func() string); ok {
			what[i] = late()
		}
	}
	if format, ok := what[0].(string); ok {
		return fmt.Sprintf(format, what[1:]...)
	}
	return fmt.Sprint(what...)
}

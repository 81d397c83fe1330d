// Package knowntypes remembers the generated event types that a program has used, so
// that tests can show what an event's bytes say. Package schemas fills it.
package knowntypes

import "sync"

var (
	mu  sync.Mutex
	all = make(map[[32]byte]any)
)

// Add notes a *schemas.EventType under its fingerprint. It may be called at any
// time, by any goroutine.
func Add(fingerprint [32]byte, eventType any) {
	mu.Lock()
	defer mu.Unlock()
	all[fingerprint] = eventType
}

// Find returns the *schemas.EventType with a fingerprint, nil when this program
// has not used it.
func Find(fingerprint [32]byte) any {
	mu.Lock()
	defer mu.Unlock()
	return all[fingerprint]
}

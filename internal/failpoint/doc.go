// Package failpoint marks the moments at which the daemon is killed, stopped or
// disturbed on purpose, so that a fault hits the same step of the protocol every
// time instead of a lucky instant.
//
//	failpoint.Hit("broker.settled")      // in the product's code
//	RUNNEL_FAILPOINTS=broker.settled:2:kill,pipeline.sent:500:stop
//
// Only a binary built with the tag failpoints holds them; without it every
// function is empty and inlined away. A rule fires once, at the given hit
// counted from when it was armed, and says so first: a line on standard output
// that begins with "FAILPOINT " and holds a Report as JSON. The line is written
// before the process dies.
//
// Actions: kill (SIGKILL to itself), stop (SIGSTOP to itself), note (nothing but
// the line), error (what Error returns).
//
// Start with on.go; the harness that arms them is internal/torture.
package failpoint

// Variable is the environment variable whose rules are armed at the first hit.
const Variable = "RUNNEL_FAILPOINTS"

// Prefix begins the line that a rule prints when it fires.
const Prefix = "FAILPOINT "

// Report says that a rule fired.
type Report struct {
	Rule string           `json:"rule"` // as it was armed
	Hits map[string]int64 `json:"hits"` // of every point, since the process began
}

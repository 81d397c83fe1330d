// Package pipeline is the daemon: it joins capture, router and broker into
// runs, and keeps them going.
//
//	            ┌──────────────────────── a run ────────────────────────┐
//	Postgres ─▶ │ capture.Source ─Batch▶ loop (router.State) ─Send▶ lane │ ─▶ Pulsar
//	            │        ◀───────Confirm──┘  ◀──acks, Acquired──┘        │
//	            └────────────────────────────────────────────────────────┘
//
// A run is an attempt: from taking the slot until the first error. Nothing but
// the slot and the topics is carried from one run to the next, so starting over
// is always right, and it is the answer to every error. Errors that pass by
// themselves are retried with backoff; those that need a person halt the
// pipeline: the process stays up, unready, says what to do, and looks again.
//
// Threads of control: the source's goroutine owns the replication connection;
// the loop's owns the router's state; each acquisition has a short-lived one;
// the broker's callbacks only count. Progress, housekeeping and the polling of
// limits have one each.
//
// Start with Pipeline.Run in pipeline.go, then run in run.go, then loop in
// loop.go.
package pipeline

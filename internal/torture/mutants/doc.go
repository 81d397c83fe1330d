// Package mutants keeps known bugs as patches, and shows that the tests catch
// each: a harness that finds nothing proves nothing until it has found these.
//
// A mutant is a file of patches/: one sentence that says what the bug is, trailers
// that say what is to catch it, and a diff. Either the torture harness does,
//
//	Faults: broker.freeze*2
//	Checks: lost, copy
//
// with a finding of one of these checks while these faults happen; or a test,
//
//	Test: ./router TestHistories
//
// which must fail. With "Needs: servers" it gets a Postgres and a Pulsar.
//
// Only the daemons and projections are built with the bug; harness and judge are
// as they are. Every scenario is first played without any bug, and must then be
// without a finding.
//
// Start reading at Load, then Runner.Run.
package mutants

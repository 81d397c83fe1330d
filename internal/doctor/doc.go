// Package doctor looks whether everything that Runnel needs is there: a list of
// named checks, each read-only, each answered with pass, warn, fail or skip,
// and a failure with its cause and a remedy that can be copied.
//
//	Checks ──▶ Run(ctx, Config, names) ──▶ Report{Results}
//	              │ each check sees a session: connections made once
//	              ├─▶ Postgres   postgres.go, slot.go
//	              ├─▶ daemon     daemon.go
//	              ├─▶ catalog    catalog.go
//	              ├─▶ Pulsar     pulsar.go
//	              └─▶ secrets, TLS, the broker's grants   security.go
//
// A check whose precondition failed is skipped, so that one broken thing is
// one failure. Nothing is created, registered or changed: what would, is in the
// remedies. Faults carry the codes that the daemon itself would halt with.
//
// Start with Check and Run in doctor.go.
package doctor

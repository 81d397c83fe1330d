// Package demo runs the quickstart through the real daemon, on real servers,
// and checks that everything adds up.
//
//	Run ─▶ servers ─▶ databases ─▶ daemon (a process) ─▶ orders, fulfilment
//	    ─▶ stream for a while ─▶ drain ─▶ verdict (a table that checks itself)
//
// It is a user of the product like any other: the daemon is `runnel run`, the
// services are those of examples/quickstart.
//
// Start with Run in demo.go, then verify.go.
package demo

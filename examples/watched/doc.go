// Package watched is an example of tables as they are: a service goes on writing
// to its tables, here the four of pgbench, and another keeps copies of them.
//
//	pgbench ──▶ its tables ──runnel.watch──▶ outbox ──▶ runnel ──4 topics──▶ copies (own database)
//
// Its catalog, schemas, was written by `runnel schemas gen avsc --from-table`, and
// package events was generated from it. watch.sql is what the tables' owner runs.
// Start with copies.go.
package watched

import "embed"

// Schemas is the catalog: *.avsc files in the folder schemas.
//
//go:embed schemas/*.avsc
var Schemas embed.FS

// Watch is the SQL that the owner of pgbench's tables runs.
//
//go:embed watch.sql
var Watch string

// Package events holds the events of pgbench's tables, generated from the catalog
// in ../schemas.
package events

//go:generate go run ../../../cmd/runnel schemas gen go --schemas ../schemas --package events --out .

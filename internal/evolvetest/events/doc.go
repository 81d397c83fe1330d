// Package events holds the events of the quickstart as a later release has them, made
// by `runnel schemas gen go` from ../schemas.
package events

//go:generate go run ../../../cmd/runnel schemas gen go --schemas ../schemas --package events --out .

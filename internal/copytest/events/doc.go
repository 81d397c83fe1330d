// Package events holds the event of the scenarios of package copytest, made by
// `runnel schemas gen go`. Start with step_taken_gen.go.
package events

//go:generate go run ../../../cmd/runnel schemas gen go --schemas ../schemas --package events --out .

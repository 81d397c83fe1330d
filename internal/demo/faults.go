package demo

import "github.com/runnel-cdc/runnel/internal/fault"

// ErrDoesNotAddUp is what a demo ends with when its counts differ.
var ErrDoesNotAddUp = fault.Define("DEMO_DOES_NOT_ADD_UP", fault.Runtime,
	"What was committed, what is in the topics and what is in the copy differ.",
	"This breaks Runnel's promise. Please report it with the output above.")

// Faults lists this package's fault codes.
var Faults = []*fault.Code{ErrDoesNotAddUp}

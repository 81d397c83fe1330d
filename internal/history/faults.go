package history

import "github.com/runnel-cdc/runnel/internal/fault"

// ErrNewer says that a record tells of something that this release does not know.
var ErrNewer = fault.Define("HISTORY_NEWER", fault.Environment,
	"What a newer release of Runnel has recorded of the pipeline's history is not known to this one.",
	"Start a release that is at least as new as the one that ran last.")

// Faults lists this package's fault codes.
var Faults = []*fault.Code{ErrNewer}

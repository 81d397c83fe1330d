package evolution

import "github.com/runnel-cdc/runnel/internal/fault"

// The faults of changing schemas.
var (
	ErrRefused = fault.Define("SCHEMA_CHANGE_REFUSED", fault.Input,
		"The catalog changes an event in a way that its readers, or what is retained, cannot take.",
		"Change the schema as each finding says; or let it pass with a waiver in catalog.yaml.")
	ErrStale = fault.Define("SCHEMA_PLAN_STALE", fault.Input,
		"What is there is no longer what the plan was made for.",
		"Run `runnel schemas plan` again, look at it, and apply that one.")
	ErrBusy = fault.Define("SCHEMA_APPLY_BUSY", fault.Environment,
		"Another process applies schemas.",
		"Wait until it has ended; `select * from pg_locks where locktype = 'advisory'` names its session.")
)

// ErrDrift is what `runnel schemas drift` ends with.
var ErrDrift = fault.Define("SCHEMA_DRIFT", fault.Input,
	"Topics, registry or registered types are not what the catalog says.",
	"Each line says what to do about it.")

// Faults lists the package's fault codes.
var Faults = []*fault.Code{ErrRefused, ErrStale, ErrBusy, ErrDrift}

package lint

import "github.com/runnel-cdc/runnel/internal/fault"

// ErrRuleUnknown is the error of Dir for an Options.Ignore that is no rule.
var ErrRuleUnknown = fault.Define("LINT_RULE_UNKNOWN", fault.Input,
	"There is no rule of this name.",
	"Take one that `runnel schemas lint --rules` lists.")

// Faults lists every fault of the package, for the documentation.
var Faults = []*fault.Code{ErrRuleUnknown}

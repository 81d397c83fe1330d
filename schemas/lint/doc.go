// Package lint looks a catalog through for what Avro allows and people regret: a
// logical type that every reader ignores, money in floats, a default that spoils a
// topic for good, a field that nobody has explained.
//
//	folder --Dir--> files that parse ----> Catalog --rules--> findings, by place
//	                files that do not ---> their faults, as findings
//	                catalog.yaml --------> what to leave out
//
// It is what `runnel schemas lint` calls, and may be called from a service's own
// tests. It changes nothing and asks nobody: whether one version of a schema may
// follow another is a matter of package schemas, and of the registry.
//
// The types that `runnel schemas gen avsc` makes from a watched table are as the
// table is: they are looked at for errors only.
//
// Start with Dir in lint.go, then rules.go, where every rule stands with its reason.
// The rules' code is in the file of their category.
package lint

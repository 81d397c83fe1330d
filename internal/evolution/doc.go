// Package evolution changes what is registered to what a catalog says, and no consumer
// breaks by it: it judges the change, plans it, and applies the plan.
//
//	catalog + History (registry, folder, git) --Judge--> findings
//	catalog + State (Observe) --Make--> Plan (steps, findings, hash)
//	Plan, asked for by its hash --Begin--> steps --Applier.Apply--> registered
//
// Whether one schema can read another's data is package schemas' to say; whose data and
// whose reader matter is this one's: it knows the versions that are retained, the levels
// and waivers of the catalog, and who is connected. It prints nothing, and reads no
// files.
//
// Start with Judge, then Make.
package evolution

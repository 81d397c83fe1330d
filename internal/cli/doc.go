// Package cli is the command line: it parses flags, loads the configuration,
// calls a package, prints what that returned, and turns errors into exit codes.
// Nothing is decided here that a program using the packages would need.
//
//	Main ── signals ─▶ app ── cobra ─▶ spec.run(ctx, call) ─▶ result or error
//	                                        │                      │
//	                     config.Load ◀──────┘      output.go: text, or one envelope
//
// Every command is a spec (command.go) in a file named after it, and returns a
// result that is printed as text or, with -o json, inside one envelope
// {command, ok, result, error}. Two commands write as they go: tail (JSON lines)
// and run (logs on standard error).
//
// Start with Main in main.go, then spec in command.go, then any command.
package cli

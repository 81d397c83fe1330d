// Package reference writes the parts of docs that are generated from the code:
// docs/errors.md from every fault code, docs/configuration.md from every
// setting, docs/lint-rules.md from every rule of lint. `make generate` writes
// them, and a test holds them current.
//
// Start with Pages.
package reference

//go:generate go run ./write

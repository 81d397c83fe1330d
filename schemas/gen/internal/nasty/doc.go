// Package nasty is generated from testdata/nasty, a catalog of everything that
// is hard: names that clash, every type and logical type, unions in unions,
// recursion. Its tests run the code and compare it with other Avro libraries.
// Rewrite it with `go test ./schemas/gen -update`.
package nasty

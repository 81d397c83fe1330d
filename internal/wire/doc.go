// Package wire makes of a configuration what the packages take: a session of
// Postgres, the broker's address, the catalog, the routes, the topics' names. It
// exists so that the commands and the doctor do this alike, with the same
// faults. It knows no pipeline, which may use it too.
//
// Start with Postgres in postgres.go, then wire.go.
package wire

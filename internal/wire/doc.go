// Package wire makes of a configuration what the packages take: a session of
// Postgres, the broker's address, the catalog, the routes. It exists so that
// the commands and the doctor do this alike, with the same faults.
//
// Start with Postgres in postgres.go, then wire.go.
package wire

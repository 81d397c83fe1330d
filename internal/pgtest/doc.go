// Package pgtest gives each test a database of its own on a real Postgres.
//
//	db := pgtest.New(t)            // fresh database, dropped with its slots and roles afterwards
//	db.Exec(t, "create table ...")
//	role := db.Role("writer")      // roles are cluster-wide: this name is the test's own
//	conn := db.Conn(t)             // superuser; ConnAs for a role
//
// The server is the one in RUNNEL_POSTGRES_URL (a superuser's URL). Without
// it tests are skipped, or fail when RUNNEL_TEST_SERVERS=required.
//
// It does not start a server: see internal/devstack. Start with New.
package pgtest

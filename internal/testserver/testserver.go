// Package testserver decides whether a test that needs a real server runs,
// is skipped, or fails because there is none.
//
// It holds only that one rule, so that pgtest and pulsartest share it. It
// starts nothing: `make test` starts the servers and sets the variables.
package testserver

import (
	"os"
	"testing"
)

// The environment variables that say where the test servers are.
const (
	Postgres    = "RUNNEL_POSTGRES_URL"     // of a superuser
	Pulsar      = "RUNNEL_PULSAR_URL"       // pulsar://host:port
	PulsarAdmin = "RUNNEL_PULSAR_ADMIN_URL" // http://host:port
	// Servers, when "required", turns a missing server from a skip into a
	// failure, so that a test run cannot pass by testing nothing.
	Servers = "RUNNEL_TEST_SERVERS"
)

// Address returns the value of variable, or skips the test when it is unset
// (fails it, when servers are required).
func Address(t testing.TB, variable string) string {
	t.Helper()
	if address := os.Getenv(variable); address != "" {
		return address
	}
	if os.Getenv(Servers) == "required" {
		t.Fatalf("%s is not set, and %s=required", variable, Servers)
	}
	t.Skipf("%s is not set: run `make test`, or start the servers with `runnel dev up`", variable)
	return ""
}

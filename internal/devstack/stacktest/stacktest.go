// Package stacktest gives a test servers of its own, to be killed and paused
// without disturbing the tests beside it.
//
//	stack := stacktest.Up(t, devstack.Options{Postgres: true})
//	db := pgtest.NewOn(t, stack.PostgresURL)
//	stack.RestartPostgres(ctx)
//
// A Postgres of one's own takes about 2 s to start, a Pulsar 10 s and 350 MB:
// a test that kills nothing uses the shared ones, through pgtest and pulsartest.
package stacktest

import (
	"context"
	"os"
	"testing"

	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/testserver"
)

// Up starts an Ephemeral stack, and ends it with the test. Where ./setup did
// not run, the test is skipped, or fails when servers are required.
func Up(t testing.TB, o devstack.Options) *devstack.Stack {
	t.Helper()
	need(t, o)
	o.Ephemeral = true
	if o.Progress == nil {
		o.Progress = func(text string) { t.Log(text) }
	}
	stack, err := devstack.Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stack.Down(context.Background()); err != nil {
			t.Errorf("end the servers: %v", err)
		}
	})
	return stack
}

// UpCluster starts a Pulsar of several processes, and ends it with the test. Where
// ./setup did not run, the test is skipped, or fails when servers are required.
func UpCluster(t testing.TB, o devstack.ClusterOptions) *devstack.Cluster {
	t.Helper()
	need(t, devstack.Options{Pulsar: true})
	if o.Progress == nil {
		o.Progress = func(text string) { t.Log(text) }
	}
	cluster, err := devstack.UpCluster(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Down(); err != nil {
			t.Errorf("end the servers: %v", err)
		}
	})
	return cluster
}

func need(t testing.TB, o devstack.Options) {
	t.Helper()
	if err := devstack.Installed(t.Context(), o); err != nil {
		if os.Getenv(testserver.Servers) == "required" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

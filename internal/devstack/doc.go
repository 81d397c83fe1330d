// Package devstack starts a real Postgres and a real Pulsar on this machine,
// for `runnel dev`, the demo and the tests. It needs Linux and what ./setup
// installs; it uses no container engine.
//
//	Up ──┬─> postgres   own session, free loopback port, scram password
//	     ├─> pulsar     standalone: broker, bookie, ZooKeeper; free ports
//	     └─> guard      /bin/sh that outlives this process: when it dies in
//	                    any way, ends the servers (and removes their data)
//
// A stack lives in a folder. An Ephemeral one ends with the process that
// started it; any other one stays until Down, called by whoever opens the same
// folder. A process is known by its id and start time, so that nobody else's
// is ever ended. URLs given in Options are used, and nothing is started for
// them. The servers' settings are the files of package deploy. With Secure they
// speak TLS alone: secure.go, for package securestack.
//
// A Cluster, for tests, is a Pulsar of several processes, each of which can fail
// alone: ZooKeeper, bookies, a broker. cluster.go, member.go, clustersettings.go.
//
// Start with Options and Up in stack.go; then process.go and guard.go for how
// nothing is left behind.
package devstack

// Package deploy holds what runs Runnel and the servers beside it.
//
//	pulsar/standalone.conf      settings of the local Pulsar (runnel dev, demo, tests)
//	postgres/postgresql.conf    settings of the local Postgres
//	runnel.service              systemd unit of the daemon
//
// The local stack (internal/devstack) uses the two settings files embedded
// here, so that what is read is what runs. They are meant for one machine and
// for data that may be lost; each setting says why it is there, and the ones
// not to take to production say so.
//
// The package does nothing else. Start with the files.
package deploy

package doctor

import "github.com/runnel-cdc/runnel/internal/fault"

// The faults that only the doctor reports; the others are those of the package
// that would meet them.
var (
	ErrCheckUnknown = fault.Define("CHECK_UNKNOWN", fault.Input,
		"There is no check of this name.",
		"See `runnel doctor --list` for all checks.")
	ErrCheck = fault.Define("CHECK_FAILED", fault.Environment,
		"A check could not be made.",
		"The message names the cause; run the doctor again.")
	ErrSendersShort = fault.Define("PG_WALSENDERS_SHORT", fault.Environment,
		"Few replication connections or slots of the server are free.",
		"As a superuser, then restart the server:\n  ALTER SYSTEM SET max_wal_senders = 20;\n  ALTER SYSTEM SET max_replication_slots = 20;")
	ErrSlotIdle = fault.Define("SLOT_IDLE", fault.Environment,
		"Nobody streams from the slot, so the server keeps all WAL from here on.",
		"Start the daemon with `runnel run`.")
	ErrSlotNotForFailover = fault.Define("SLOT_NOT_FOR_FAILOVER", fault.Environment,
		"A standby does not take the slot over: after a failover it would be missing.",
		"Stop the daemon, and alter the slot by the replication command ALTER_REPLICATION_SLOT.")
	ErrDaemonUnready = fault.Define("DAEMON_NOT_STREAMING", fault.Environment,
		"The daemon runs, but does not stream.",
		"Run the doctor again in a while; the daemon's log says what it waits for.")
	ErrDaemonUnknown = fault.Define("DAEMON_UNKNOWN", fault.Environment,
		"What is at the daemon's address is not this pipeline's daemon, or does not answer.",
		"Give the address at which the daemon listens, with --http or RUNNEL_HTTP; its log begins with it.")
	ErrDefaultPartition = fault.Define("DEFAULT_PARTITION_USED", fault.Environment,
		"Events were written into the outbox's default partition, because no partition for their day was there.",
		"Nothing is lost: while the daemon runs, its housekeeping makes partitions ahead and adopts these rows.")
	ErrEventTypes = fault.Define("EVENT_TYPES_MISSING", fault.Environment,
		"Events of the catalog are not registered in the database, so writers may not publish them.",
		"Apply the catalog: `runnel schemas plan`, then `runnel schemas apply`. Before its very first start, `runnel init --schemas DIR` will do.")
	ErrParked = fault.Define("EVENTS_PARKED", fault.Environment,
		"Events that could not be published are parked, with the later ones of their aggregates.",
		"See what is wrong with them in `runnel dlq list --pipeline`; once that is put right, `runnel dlq retry --pipeline` publishes them.")
	ErrFormerTopic = fault.Define("FORMER_TOPIC_MISSING", fault.Environment,
		"A topic that was published to is gone, and no route of the catalog leads to it any more.",
		"Find out who deleted it, and whether it can be restored: no copy can be built from it any more. The daemon goes on as long as no event goes there; one that does, as routes lead there again or as it was decided by former ones, halts it (TOPIC_MISSING).")
	ErrSecretOpen = fault.Define("SECRET_FILE_OPEN", fault.Environment,
		"A file with a secret is open to every user of this machine.",
		"Take the rights of others away from it: `chmod o= FILE`.")
	ErrUnprotected = fault.Define("CONNECTION_UNPROTECTED", fault.Environment,
		"Events, and what proves who we are, leave this machine unencrypted or for a server that is not verified.",
		"Use TLS with verified names: sslmode=verify-full for Postgres, pulsar+ssl:// and https:// for Pulsar.")
	ErrPoliciesUnread = fault.Define("POLICIES_NOT_READ", fault.Environment,
		"The namespace's policies are for the tenant's administrator to read, so they were not checked.",
		"Run `runnel doctor --check namespace` with the token that provisions; deduplication and the sizes of messages the daemon looks up by other ways.")
)

// Faults are all faults of this package.
var Faults = []*fault.Code{
	ErrCheckUnknown, ErrCheck, ErrSendersShort, ErrSlotIdle, ErrSlotNotForFailover,
	ErrDaemonUnready, ErrDaemonUnknown, ErrDefaultPartition, ErrEventTypes,
	ErrParked, ErrFormerTopic, ErrSecretOpen, ErrUnprotected, ErrPoliciesUnread,
}

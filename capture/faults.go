package capture

import (
	"errors"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pgfault"
)

// repairIt is the remedy for a slot that no longer is what it was.
const repairIt = "Nothing is published until it is repaired: `runnel slot repair` says what is missing, makes the slot anew, and publishes that from the rows that the outbox retains."

// What a person can meet. Halts tells which of them need one.
var (
	ErrConfig = fault.Define("CAPTURE_CONFIG", fault.Input,
		"The settings of the source database are not usable.",
		"Give --postgres or RUNNEL_POSTGRES_URL as postgres://USER@HOST:PORT/DATABASE.")
	ErrUnreachable = fault.Define("PG_UNREACHABLE", fault.Environment,
		"The source database did not answer, or something else answered at its address.",
		"Check host and port, that Postgres runs and accepts connections, and the firewall between.")
	ErrAuth = fault.Define("PG_AUTH", fault.Environment,
		"The source database refused the user, the password or the client's certificate.",
		"Correct what the message names: the password (postgres.password_file is read again by itself), the certificate (sslcert, sslkey), sslmode, or the server's pg_hba.conf.")
	ErrNoDatabase = fault.Define("PG_NO_DATABASE", fault.Environment,
		"The source database does not exist on that server.",
		"Check the database's name in the address.")
	ErrTLS     = pgfault.ErrTLS
	ErrTooOld  = pgfault.ErrTooOld // shared with outbox
	ErrStandby = fault.Define("PG_STANDBY", fault.Environment,
		"The server is a standby: the outbox can only be captured from the primary.",
		"Point the address at the primary (target_session_attrs=read-write picks it from a list of hosts).")
	ErrWALLevel = fault.Define("PG_WAL_LEVEL", fault.Environment,
		"The server's wal_level is not logical.",
		"As a superuser, then restart the server:\n  ALTER SYSTEM SET wal_level = 'logical';")
	ErrNoReplication = fault.Define("PG_NO_REPLICATION", fault.Environment,
		"The role may not replicate.",
		"As a superuser:\n  ALTER ROLE runnel_daemon REPLICATION;")
	ErrNoOutbox = pgfault.ErrNoOutbox // shared with outbox
	ErrGrant    = fault.Define("PG_GRANT", fault.Environment,
		"The role lacks a right on the tables of the schema runnel.",
		"Run `runnel init` again, or grant the role that it made to this user:\n  GRANT runnel_daemon TO the_user;")
	ErrPublication = fault.Define("PG_PUBLICATION", fault.Environment,
		"The publication is missing, or does not publish exactly the inserts of the outbox.",
		"Run `runnel init` again, or as the owner:\n  CREATE PUBLICATION runnel FOR TABLE runnel.outbox, runnel.control WITH (publish = 'insert', publish_via_partition_root = true);")
	ErrNoWALSender = fault.Define("PG_NO_WALSENDER", fault.Environment,
		"All of the server's replication connections are taken.",
		"Stop one, or as a superuser, then restart the server:\n  ALTER SYSTEM SET max_wal_senders = 20;")
	ErrNoSlot = fault.Define("PG_NO_SLOT", fault.Environment,
		"All of the server's replication slots are taken.",
		"Drop one that nobody needs (SELECT * FROM pg_replication_slots), or as a superuser, then restart the server:\n  ALTER SYSTEM SET max_replication_slots = 20;")
	ErrSlotBusy = fault.Define("SLOT_BUSY", fault.Environment,
		"Another process streams from the pipeline's slot. This one waits.",
		"If the other should not run, stop it; it gives the slot up at once.")
	ErrSlotLost = fault.Define("SLOT_LOST", fault.Environment,
		"The server removed WAL that the slot still needed: events between are only in the outbox.",
		repairIt)
	ErrSlotMoved = fault.Define("SLOT_MOVED", fault.Environment,
		"The slot is further than this pipeline ever confirmed: somebody advanced it, or dropped it and made it anew. Events between are only in the outbox.",
		repairIt)
	ErrGap = fault.Define("SLOT_GAP", fault.Runtime,
		"Committed outbox rows were neither streamed by the slot nor are they in their topics: the slot was made anew or moved, or rows were written while the publication left them out.",
		repairIt)
	ErrRepairUnfinished = fault.Define("REPAIR_UNFINISHED", fault.Environment,
		"A repair of the pipeline's slot was begun, and has not come to its end.",
		"Nothing was published meanwhile. Begin it again: `runnel slot repair`.")
	ErrSlotForeign = fault.Define("SLOT_FOREIGN", fault.Environment,
		"A slot of that name exists, but not as Runnel makes it.",
		"Give the pipeline another slot name (capture.slot) and, if it had begun to publish, run `runnel slot repair`. Or drop the other slot if nobody needs it, and run `runnel slot repair`:\n  SELECT pg_drop_replication_slot('the_slot');")
	ErrSlotMissing = fault.Define("SLOT_MISSING", fault.Environment,
		"The pipeline's slot was recorded, but is not on the server. Making a new one would skip events in silence.",
		"Find out what dropped it (a failover, a restore, a person). "+repairIt)
	ErrSlotMismatch = fault.Define("SLOT_MISMATCH", fault.Environment,
		"The pipeline was recorded with another slot than the configured one.",
		"Configure the recorded slot. To go on with the configured one instead, drop the recorded one, if it is there and the pipeline's, and run `runnel slot repair`.")
	ErrEpochChanged = fault.Define("EPOCH_CHANGED", fault.Environment,
		"The server's history does not go on from the one that the pipeline was recorded with: a dump, an older backup, an upgrade, or another server.",
		"Check that the address is that of the right server. If it is to go on from here, and the former one is out of use: `runnel slot repair` says what it lacks, and goes on from what it has.")
	ErrOutboxShape = fault.Define("OUTBOX_SHAPE", fault.Environment,
		"The columns of runnel.outbox or runnel.control are not those this version knows.",
		"Upgrade the daemon if the schema is newer, or run `runnel init` if it is older; undo changes made by hand.")
	ErrControlUnknown = fault.Define("CONTROL_UNKNOWN", fault.Environment,
		"A control record for this pipeline is of a kind that this version does not know.",
		"Upgrade the daemon to the version that wrote it.")
	ErrStream = fault.Define("PG_STREAM", fault.Runtime,
		"The replication stream held something unexpected.",
		"The run starts over by itself. If it happens again, check that nothing but Postgres is between.")
	ErrSilent = fault.Define("PG_SILENT", fault.Runtime,
		"The server did not answer on the replication connection.",
		"The run starts over by itself. Check the network and the server's load.")
)

// Faults lists the codes of this package.
var Faults = []*fault.Code{
	ErrConfig, ErrUnreachable, ErrTLS, ErrAuth, ErrNoDatabase, ErrTooOld, ErrStandby, ErrWALLevel,
	ErrNoReplication, ErrNoOutbox, ErrGrant, ErrPublication, ErrNoWALSender, ErrNoSlot,
	ErrSlotBusy, ErrSlotLost, ErrSlotMoved, ErrGap, ErrRepairUnfinished, ErrSlotForeign, ErrSlotMissing, ErrSlotMismatch, ErrEpochChanged,
	ErrOutboxShape, ErrControlUnknown, ErrStream, ErrSilent,
}

// Halts reports whether err, returned by Open or Run, needs a person: trying
// again at once cannot help. Everything else (a lost connection, a busy slot,
// a changed password, no free walsender) is worth another attempt with backoff.
func Halts(err error) bool {
	for _, code := range []*fault.Code{
		ErrConfig, ErrNoDatabase, ErrTooOld, ErrWALLevel, ErrNoReplication, ErrNoOutbox, ErrGrant,
		ErrPublication, ErrSlotLost, ErrSlotMoved, ErrGap, ErrRepairUnfinished, ErrSlotForeign, ErrSlotMissing, ErrSlotMismatch, ErrEpochChanged,
		ErrOutboxShape, ErrControlUnknown,
	} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}

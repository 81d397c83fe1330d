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
	ErrOutboxVersion = fault.Define("OUTBOX_VERSION", fault.Environment,
		"The outbox was made by another version of Runnel.",
		"Run `runnel init` with the newest binary in use.")
	ErrSendersShort = fault.Define("PG_WALSENDERS_SHORT", fault.Environment,
		"Few replication connections or slots of the server are free.",
		"As a superuser, then restart the server:\n  ALTER SYSTEM SET max_wal_senders = 20;\n  ALTER SYSTEM SET max_replication_slots = 20;")
	ErrSlotAtRisk = fault.Define("SLOT_AT_RISK", fault.Environment,
		"The WAL that the slot needs is about to be removed.",
		"Get the pipeline running, or raise the limit as a superuser:\n  ALTER SYSTEM SET max_slot_wal_keep_size = '64GB';\n  SELECT pg_reload_conf();")
	ErrWALRetained = fault.Define("WAL_RETAINED", fault.Environment,
		"The slot keeps much WAL on the server's disk.",
		"Get the pipeline running (`runnel status` says what it waits for), and watch the disk.")
	ErrSlotIdle = fault.Define("SLOT_IDLE", fault.Environment,
		"Nobody streams from the slot, so the server keeps all WAL from here on.",
		"Start the daemon with `runnel run`.")
	ErrDefaultPartition = fault.Define("DEFAULT_PARTITION_USED", fault.Environment,
		"Events were written into the outbox's default partition, because no partition for their day was there.",
		"Nothing is lost. Start the daemon, whose housekeeping makes partitions ahead and adopts these rows.")
	ErrEventTypes = fault.Define("EVENT_TYPES_MISSING", fault.Environment,
		"Events of the catalog are not registered in the database, so writers may not publish them.",
		"Run `runnel init --schemas DIR`, or `runnel run --auto-apply`.")
)

// Faults are all faults of this package.
var Faults = []*fault.Code{
	ErrCheckUnknown, ErrCheck, ErrOutboxVersion, ErrSendersShort, ErrSlotAtRisk, ErrWALRetained, ErrSlotIdle,
	ErrDefaultPartition, ErrEventTypes,
}

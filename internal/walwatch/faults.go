package walwatch

import "github.com/runnel-cdc/runnel/internal/fault"

// What is wrong, or will be, with the WAL that a slot keeps.
var (
	ErrSlotAtRisk = fault.Define("SLOT_AT_RISK", fault.Environment,
		"The WAL that the slot needs is about to be removed.",
		"Get the pipeline running, or raise the limit as a superuser, if the disk has room:\n  ALTER SYSTEM SET max_slot_wal_keep_size = '64GB';\n  SELECT pg_reload_conf();")
	ErrWALRetained = fault.Define("WAL_RETAINED", fault.Environment,
		"The slot keeps much WAL on the server's disk.",
		"Get the pipeline running (`runnel status` says what it waits for), and watch the disk.")
	ErrHeldByTransaction = fault.Define("WAL_HELD_BY_TRANSACTION", fault.Environment,
		"A transaction that is open, or prepared and not ended, makes the server keep WAL that the daemon has confirmed.",
		"Find out what it waits for and end it. The oldest ones of the server:\n  SELECT pid, datname, application_name, age(backend_xid) FROM pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY 4 DESC LIMIT 3;\n  SELECT gid, database, owner, prepared FROM pg_prepared_xacts ORDER BY prepared LIMIT 3;")
	ErrHeldBySlot = fault.Define("WAL_HELD_BY_SLOT", fault.Environment,
		"Another replication slot keeps much WAL on the server's disk, without limit; this pipeline stops too when the disk is full.",
		"Have its consumer go on. All slots, and what each keeps:\n  SELECT slot_name, active, wal_status, pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)) FROM pg_replication_slots ORDER BY restart_lsn;")
	ErrUnlimited = fault.Define("WAL_UNLIMITED", fault.Environment,
		"The server keeps WAL for its slots without limit: while nobody reads one, the disk fills, and a full disk stops the server with everything on it.",
		"Set a limit that the disk has room for, as a superuser. Past it the slot is given up and must be repaired; the server goes on:\n  ALTER SYSTEM SET max_slot_wal_keep_size = '64GB';\n  SELECT pg_reload_conf();")
	ErrStandbyAwaited = fault.Define("STANDBY_AWAITED", fault.Environment,
		"Nothing is streamed until a standby has it that is not there.",
		"Start that standby. If it is gone, as a superuser:\n  ALTER SYSTEM RESET synchronized_standby_slots;\n  SELECT pg_reload_conf();")
	ErrIdleTimeout = fault.Define("SLOT_IDLE_TIMEOUT", fault.Environment,
		"The server invalidates a slot that nobody reads for idle_replication_slot_timeout, however little WAL it keeps.",
		"Start the daemon; and, as a superuser, leave it to max_slot_wal_keep_size to bound the disk:\n  ALTER SYSTEM SET idle_replication_slot_timeout = 0;\n  SELECT pg_reload_conf();")
)

// Faults lists this package's fault codes.
var Faults = []*fault.Code{ErrSlotAtRisk, ErrWALRetained, ErrHeldByTransaction, ErrHeldBySlot, ErrUnlimited, ErrStandbyAwaited, ErrIdleTimeout}

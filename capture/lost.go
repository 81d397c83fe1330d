package capture

// losses say why a server invalidated a slot, by its invalidation_reason, and how
// to keep it from happening again. Before 17 there is no such column, and before
// 16 one cause.
var losses = map[string]struct{ why, prevent string }{
	"wal_removed": {
		"more WAL was written than max_slot_wal_keep_size lets a slot keep, and the server removed what this one still needed",
		"That it does not happen again, raise the limit as a superuser, if the disk has room:\n  ALTER SYSTEM SET max_slot_wal_keep_size = '64GB';\n  SELECT pg_reload_conf();",
	},
	"rows_removed": {
		"the server was a standby, and vacuum on its primary removed rows of system catalogs that the slot needed",
		"That it does not happen again, as a superuser on each standby that has such slots:\n  ALTER SYSTEM SET hot_standby_feedback = on;\n  SELECT pg_reload_conf();",
	},
	"wal_level_insufficient": {
		"the server was a standby, and wal_level of its primary was set below logical",
		"That it does not happen again, as a superuser on every server that may be primary, then restart it:\n  ALTER SYSTEM SET wal_level = 'logical';",
	},
	"idle_timeout": {
		"nobody read it for idle_replication_slot_timeout",
		"That it does not happen again, as a superuser:\n  ALTER SYSTEM SET idle_replication_slot_timeout = 0;\n  SELECT pg_reload_conf();",
	},
	conflicting: {
		"the server was a standby, and rows of system catalogs that the slot needed were removed, or wal_level of its primary was set below logical",
		"That it does not happen again, as a superuser on each standby that has such slots:\n  ALTER SYSTEM SET hot_standby_feedback = on;\n  SELECT pg_reload_conf();",
	},
}

// conflicting stands for the two causes that Postgres 16 does not tell apart. Its
// column of that name is true for removed WAL too, which alone takes restart_lsn.
const conflicting = "conflicting"

// CheckUsable says why the server can't serve the slot any more: ErrSlotLost,
// with the cause, else nil.
func (s Slot) CheckUsable() error {
	if s.WALStatus != "lost" && s.Invalidation == "" {
		return nil
	}
	cause := s.Invalidation
	if cause == "" {
		cause = "wal_removed"
	}
	loss, known := losses[cause]
	if !known { // of a newer server
		return ErrSlotLost.New("slot %s was invalidated by the server (%s)", s.Name, cause)
	}
	return ErrSlotLost.New("slot %s was invalidated (%s): %s", s.Name, cause, loss.why).Fix("%s\n%s", ErrSlotLost.Remedy, loss.prevent)
}

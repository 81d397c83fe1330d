package outbox

import (
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pgfault"
)

// SQLSTATEs of the schema's own errors (class RN) that the library knows.
const (
	stateUnknownType   = "RN001"
	stateUnknownSchema = "RN002"
	stateInvalid       = "RN004"
	stateStraddle      = "RN005"
	stateWrongOwner    = "RN006"
	stateUnfit         = "RN007"
	stateRefused       = "RN008"
	stateAltered       = "RN009"
	stateOtherwise     = "RN010"
)

// Errors of this package. Match them with errors.Is.
var (
	// ErrInvalid is returned before anything is sent when an event cannot be
	// published as it is.
	ErrInvalid = fault.Define("EVENT_INVALID", fault.Input,
		"The event cannot be published as it is.",
		"Correct the event; nothing of this call was written.")
	// ErrTooLarge is returned before anything is sent when the broker would
	// refuse the event for its size.
	ErrTooLarge = fault.Define("PUBLISH_TOO_LARGE", fault.Input,
		"The event is larger than the broker accepts, or the events of one call are too large together.",
		"Publish a reference to the large part, or raise maxMessageSize on the brokers and Publisher.MaxBytes with it.")
	// ErrSchemaNotApplied is returned by the INSERT, in its own round trip: the
	// transaction is aborted.
	ErrSchemaNotApplied = fault.Define("SCHEMA_NOT_APPLIED", fault.Input,
		"The event's type, or this version of its schema, is not registered in the database.",
		"Apply the newer catalog (`runnel schemas plan`, then `runnel schemas apply`), then retry the transaction. In development, start the daemon with it: `runnel run --auto-apply`.")
	// ErrNotMigrated is returned when the outbox is not in this database.
	ErrNotMigrated = pgfault.ErrNoOutbox
	// ErrForbidden is returned when the current user may not publish.
	ErrForbidden = fault.Define("OUTBOX_FORBIDDEN", fault.Environment,
		"The current user may not publish.",
		"As an administrator, for the role that the service logs in as:\n  GRANT runnel_writer TO the_role;")

	// ErrPostgresTooOld is returned for servers older than 15.
	ErrPostgresTooOld = pgfault.ErrTooOld
	// ErrNeedsAdmin comes as an *AdminError, which holds the script.
	ErrNeedsAdmin = fault.Define("NEEDS_ADMIN", fault.Environment,
		"Setting up the outbox needs rights that the current user does not have.",
		"Let an administrator run the printed script (`runnel init --dry-run --show-sql`) in this database, then run `runnel init` again.")
	// ErrWrongOwner is returned when the schema or a role is not Runnel's.
	ErrWrongOwner = fault.Define("WRONG_OWNER", fault.Environment,
		"Schema runnel belongs to another role, or one of Runnel's roles is a superuser.",
		"Name the roles as they were named when the schema was made; use roles without superuser.")
	// ErrInvalidRoles is returned for role names that cannot be used.
	ErrInvalidRoles = fault.Define("ROLE_NAMES_INVALID", fault.Input,
		"The names of Runnel's roles are not usable.",
		"Give three different names of at most 63 bytes that do not begin with pg_. A fourth role, the reader, is named after the owner: runnel_reader for runnel_owner.")

	// ErrNotWatchable is returned for a table whose rows cannot be events.
	ErrNotWatchable = fault.Define("TABLE_NOT_WATCHABLE", fault.Input,
		"The rows of this table cannot be published: it is no table, has no key, or a column has no Avro type.",
		"The message names the reason. Leave a column out with exclude, or name a key.")
	// ErrRowRefused comes from a service's own statement on a watched table.
	ErrRowRefused = fault.Define("ROW_NOT_PUBLISHABLE", fault.Input,
		"A watched table was to hold a row that its events cannot: a value that Avro does not have, an event too large, a key that is NULL.",
		"Write another value; or leave the column out of the events with exclude of runnel.watch.")
	// ErrTableAltered is what doctor reports, and a service's own statement when
	// the events cannot be filled any more.
	ErrTableAltered = fault.Define("WATCHED_TABLE_ALTERED", fault.Environment,
		"A watched table is not as it was when runnel.watch was called: an ALTER TABLE changed it, or its triggers are gone.",
		"Make the new schema known, then call runnel.watch again; `runnel doctor --check watched-tables` prints the commands.")
	// ErrWatchedOtherwise is returned when a table is watched in another way than
	// asked for, or not at all.
	ErrWatchedOtherwise = fault.Define("TABLE_WATCHED_OTHERWISE", fault.Input,
		"The table is watched with another aggregate or key, the aggregate is another table's, or the table is not watched.",
		"See `select * from runnel.watched`; runnel.unwatch first, to begin anew.")

	// ErrStraddle is reported by housekeeping; nothing is lost.
	ErrStraddle = fault.Define("DEFAULT_PARTITION_STRADDLES", fault.Runtime,
		"The default partition holds rows on both sides of an existing partition, so it cannot become one itself.",
		"Nothing is lost: the rows were published, and go by retention. Look for a clock that jumped, or a transaction older than the retention.")
	// ErrTokenTooLarge is returned by Receipt.Token.
	ErrTokenTooLarge = fault.Define("TOKEN_TOO_LARGE", fault.Input,
		"The receipt covers more aggregates than a token can hold.",
		"Make a token from the receipt of the events that the caller waits for.")
)

// Faults lists the errors a person can meet.
var Faults = []*fault.Code{
	ErrInvalid, ErrTooLarge, ErrSchemaNotApplied, ErrNotMigrated, ErrForbidden,
	ErrPostgresTooOld, ErrNeedsAdmin, ErrWrongOwner, ErrInvalidRoles, ErrStraddle, ErrTokenTooLarge,
	ErrNotWatchable, ErrRowRefused, ErrTableAltered, ErrWatchedOtherwise,
}

// AdminError is an ErrNeedsAdmin with the SQL script for the administrator.
type AdminError struct {
	Fault  *fault.Error
	Script string // runnable by psql; complete and idempotent
}

// Error returns the fault's text, without the script.
func (e *AdminError) Error() string { return e.Fault.Error() }

// Unwrap returns the fault.
func (e *AdminError) Unwrap() error { return e.Fault }

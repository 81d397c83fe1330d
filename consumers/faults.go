package consumers

import "github.com/runnel-cdc/runnel/internal/fault"

// The faults a projection can meet. Use them as targets of errors.Is.
var (
	ErrConfig = fault.Define("PROJECTION_CONFIG", fault.Input,
		"The projection's or the broker's configuration can't be used.",
		"Correct the field that the message names.")
	ErrRegistration = fault.Define("PROJECTION_REGISTRATION", fault.Input,
		"Handlers were registered in a way that can't work.",
		"Register each event type once, before Run, with its generated struct type; HandleBatch stands alone.")
	ErrRunning = fault.Define("PROJECTION_RUNNING", fault.Input,
		"Run was called while the projection runs already.",
		"Call Run once; a second instance needs a Projection of its own.")
	ErrVersion = fault.Define("PROJECTION_VERSION", fault.Input,
		"The database holds a later version of this projection than the one that was started, or is building another.",
		"Start the version that the database holds, or a later one.")
	ErrOldCopy = fault.Define("PROJECTION_OLD_COPY", fault.Environment,
		"A rebuild can't begin while the copy of before the last one is still there.",
		"Remove it when you are content with the new one: `runnel rebuild drop --projection NAME`.")
	ErrSchemaTaken = fault.Define("PROJECTION_SCHEMA_TAKEN", fault.Environment,
		"A schema whose name a rebuild needs, NAME_next or NAME_old, is there already and not the projection's.",
		"Rename or drop the schema that the message names; the live copy is not touched.")
	ErrTables = fault.Define("PROJECTION_TABLES_MISSING", fault.Environment,
		"The database knows the projection's positions, but the schema of its tables is gone.",
		"Restore the schema, or start the next version, which is built from the start of the topics.")
	ErrMigrate = fault.Define("PROJECTION_MIGRATE", fault.Runtime,
		"Migrate could not create the projection's tables; nothing was changed.",
		"Correct the statement that the cause names and start again.")
	ErrDatabaseRights = fault.Define("PROJECTION_RIGHTS", fault.Environment,
		"The database role lacks a right that the projection needs.",
		"Grant the role CREATE on the database, or create the schemas for it beforehand.")
	ErrTopic = fault.Define("PROJECTION_TOPIC", fault.Environment,
		"A topic can't be read by a projection.",
		"Topics are made by Runnel (`runnel schemas apply`) and are partitioned.")
	ErrHandlerLate = fault.Define("PROJECTION_HANDLER_LATE", fault.Input,
		"A handler was added for events of which the copy has passed some already, without it.",
		"Raise Config.Version, which builds a copy that has them all; or name the type in Config.AllowUnhandled.")
	ErrDiverged = fault.Define("PROJECTION_DIVERGED", fault.Runtime,
		"The copy has applied events that the source database has lost since, by a failover to a standby that lagged or a restored backup.",
		"Start the next version: it is built without them. `runnel slot repair` named the events and their aggregates when they were given up.")
	ErrGap = fault.Define("PROJECTION_GAP", fault.Runtime,
		"Events are missing in the topic between the projection's position and the next message.",
		"The copy is right up to its position. Start the next version, which is built from what the topics hold (Config.AllowMissing).")
	ErrForeignMessage = fault.Define("PROJECTION_FOREIGN_MESSAGE", fault.Runtime,
		"A message in the topic was not published by Runnel.",
		"Find the producer that writes to the topic and stop it; only Runnel may publish there. "+
			"Then list the message, as the error names it, in Config.Foreign, or give it to Subscribe by PassOver, and start again.")
	ErrUndecodable = fault.Define("EVENT_UNDECODABLE", fault.Runtime,
		"An event's bytes can't be read as the type that is asked for.",
		"Deploy a handler whose schema can read the writer's; the cause says what does not fit.")
	ErrParkedFull = fault.Define("PROJECTION_PARKED_FULL", fault.Environment,
		"So many events of a partition are parked that the next one that fails, and its partition, must wait.",
		"Look at them with `runnel dlq list`, mend what they fail by and run `runnel dlq retry`; or raise Config.ParkLimit.")
	ErrSchemaUnavailable = fault.Define("SCHEMA_UNAVAILABLE", fault.Environment,
		"The schema that an event was written with can't be fetched from the registry.",
		"Check the registry's address and that the topic still has its schemas; the projection goes on by itself.")
	ErrReplay = fault.Define("PROJECTION_REPLAY", fault.Runtime,
		"A handler failed while events were replayed; what was replayed before is kept.",
		"Correct the handler, and replay from the position that the message names (ParsePosition).")
	ErrHandlerPanic = fault.Define("HANDLER_PANIC", fault.Runtime,
		"A handler panicked; its transaction was rolled back.",
		"Correct the handler; the event is tried again, and its key waits.")
	ErrHandlerTx = fault.Define("HANDLER_TRANSACTION", fault.Runtime,
		"A handler broke or ended the transaction it was given.",
		"Return the error of a failed statement; never call Commit or Rollback: the projection does.")
	ErrTokenMalformed = fault.Define("TOKEN_MALFORMED", fault.Input,
		"The text is not a token of Receipt.Token.",
		"Pass the token on as it was made; a header must not cut or quote it.")
	ErrTokenForeign = fault.Define("TOKEN_FOREIGN", fault.Input,
		"The projection is not one that applies the token's events.",
		"Name the projection whose copy is read, and the database that it is in.")
	ErrParked = fault.Define("EVENT_PARKED", fault.Runtime,
		"An event that is waited for failed, or stands behind one that did, and was put aside.",
		"Look at it with `runnel dlq list`, mend what it fails by and run `runnel dlq retry`.")
	ErrNoWaiting = fault.Define("WAITING_NOT_OFFERED", fault.Environment,
		"The projection keeps no ids of events, and its position does not prove that the event was applied.",
		"Set Config.WaitWindow, such as 10 minutes, in every instance of the projection.")
	ErrTokenExpired = fault.Define("TOKEN_EXPIRED", fault.Runtime,
		"An event is older than what the projection remembers; whether it was applied can't be known.",
		"Wait with newer tokens, or raise Config.WaitWindow.")
	ErrTokenHistory = fault.Define("TOKEN_OTHER_HISTORY", fault.Runtime,
		"The token is of a history of the source database that the projection has left behind.",
		"Look whether the source database still holds the change: it was applied long ago, or lost with that history.")
	ErrNotApplied = fault.Define("EVENT_NOT_APPLIED_YET", fault.Runtime,
		"The waiting ended before the event was applied.",
		"Wait longer, or look why the projection lags: its log, `Projection.Status` and `runnel status`.")
)

// Faults lists this package's fault codes.
var Faults = []*fault.Code{ErrConfig, ErrRegistration, ErrRunning, ErrVersion, ErrOldCopy, ErrSchemaTaken, ErrTables, ErrMigrate,
	ErrDatabaseRights, ErrTopic, ErrHandlerLate, ErrDiverged, ErrGap, ErrForeignMessage, ErrUndecodable, ErrParkedFull, ErrSchemaUnavailable, ErrReplay,
	ErrHandlerPanic, ErrHandlerTx, ErrTokenMalformed, ErrTokenForeign, ErrParked, ErrNoWaiting, ErrTokenExpired,
	ErrTokenHistory, ErrNotApplied}

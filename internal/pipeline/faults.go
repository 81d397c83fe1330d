package pipeline

import "github.com/runnel-cdc/runnel/internal/fault"

// The faults of a pipeline as a whole.
var (
	ErrStalled = fault.Define("BROKER_STALLED", fault.Runtime,
		"The broker does not acknowledge what was sent.",
		"The run starts over by itself. Look at the broker's health and at its disks.")
	ErrLaneLost = fault.Define("PARTITION_LOST", fault.Runtime,
		"Another producer took a partition, or the broker closed ours.",
		"The run starts over by itself, and waits while another daemon publishes.")
	ErrNotApplied = fault.Define("SCHEMAS_NOT_APPLIED", fault.Environment,
		"A topic, or the registered schema of an event of the catalog, is missing.",
		"Run `runnel schemas plan`, then `runnel schemas apply` as it says; the daemon goes on by itself. In development, `runnel run --auto-apply` does both.")
	ErrOutboxVersion = fault.Define("OUTBOX_VERSION", fault.Environment,
		"The outbox was made by another version of Runnel.",
		"Run `runnel init` with the newest binary in use, as the database's administrator; the daemon goes on by itself.")
	ErrHistoryLost = fault.Define("HISTORY_LOST", fault.Runtime,
		"The database has lost events that were published: a standby took over that lagged behind, or a backup was restored.",
		"If another server has them, point the daemon at that one. Do not drop the slot: nothing is published until somebody gives them up: `runnel slot repair` lists them, and says how.")
	ErrRepairStale = fault.Define("REPAIR_STALE", fault.Input,
		"What is to be repaired is not what it was when the plan was made.",
		"Run `runnel slot repair` again, look at the plan, and apply that one.")
	ErrOtherDatabase = fault.Define("PIPELINE_OF_ANOTHER", fault.Environment,
		"Another database publishes under this pipeline's name, or did: this one is a clone, was loaded from a dump, or is misconfigured.",
		"Give this one a pipeline's name (name) and a namespace (topics.namespace) of its own; or check the address of the database.")
	ErrNamespaceChanged = fault.Define("NAMESPACE_CHANGED", fault.Runtime,
		"The pipeline has published to another namespace: what is published there, and parked, would not be known.",
		"Put topics.namespace back. To publish elsewhere from now on, run a pipeline of another name there: it begins with what the outbox holds.")
	ErrHistory = fault.Define("TOPIC_AHEAD_OF_WAL", fault.Runtime,
		"A partition holds an event beyond the end of the server's WAL: the database was restored or replaced.",
		"Check that the daemon is connected to the right database; do not delete the slot.")
	ErrTruncated = fault.Define("TOPIC_TRUNCATED", fault.Runtime,
		"A partition has lost messages that were in it: the topic was deleted, or made anew.",
		"Find out who deleted it. Copies that have read it are not affected, but can't be rebuilt from it, as what was in it is not published a second time; others will say that events are missing. The message names the first partition that was found; others of the topic may lack something too. If it can't be brought back, one statement lets all partitions of the topic go on behind what each has lost, run as the daemon's role; it is tried again by itself:\n  SELECT runnel.accept_lost('the_pipeline', 'persistent://tenant/namespace/topic');")
	ErrNoEvents = fault.Define("CATALOG_WITHOUT_EVENTS", fault.Input,
		"The folder of schemas holds no event.",
		"An event is a record with the property \"aggregate\", which names its aggregate type.")
	ErrReleaseRight = fault.Define("RELEASE_FORBIDDEN", fault.Environment,
		"This role may not release what the pipeline parked: that publishes events, or discards them, in the place of those who wrote them.",
		"Give --postgres as a member of the schema's owner (roles.owner), or let the owner allow it to a role of operators, named here NAME:\n  GRANT USAGE ON SCHEMA runnel TO NAME;\n  GRANT SELECT ON runnel.schema_version TO NAME;\n  GRANT EXECUTE ON FUNCTION runnel.release_parked, runnel.hold_writers TO NAME;")
	ErrReleasePending = fault.Define("RELEASE_PENDING", fault.Runtime,
		"Parked events are released in the database, and the daemon has not carried that out yet.",
		"It does once it streams: start it, or see what holds it up with `runnel status`. Do not release them again; `runnel dlq list --pipeline` shows what is parked then.")
	ErrListen = fault.Define("HTTP_LISTEN", fault.Environment,
		"The address for health and metrics can't be listened on.",
		"Give --http an address of this machine, or off.")
)

// Faults lists this package's fault codes.
var Faults = []*fault.Code{ErrStalled, ErrLaneLost, ErrNotApplied, ErrOutboxVersion, ErrHistoryLost, ErrRepairStale, ErrOtherDatabase, ErrNamespaceChanged, ErrHistory, ErrTruncated, ErrNoEvents, ErrReleaseRight, ErrReleasePending, ErrListen}

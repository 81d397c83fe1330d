package router

import "github.com/runnel-cdc/runnel/internal/fault"

// The faults an event or a route can have. An event that can't be published is
// poison: the pipeline halts at its position, and nothing is lost.
var (
	ErrRoute = fault.Define("ROUTE_INVALID", fault.Input,
		"A routing rule can't be used.",
		"Correct the rule in the configuration; globs may use * ? and [a-z], topics are local names.")
	ErrRoutesChanged = fault.Define("ROUTES_CHANGED", fault.Runtime,
		"Events are to be read again that were published under other routes, which are not recorded.",
		"If the routes were changed together with an upgrade from a release that did not record them: start the daemon once with the former ones. Else the database was set back by very many changes of routes: restore a newer backup.")
	ErrNoAggregateID = fault.Define("EVENT_WITHOUT_AGGREGATE_ID", fault.Runtime,
		"An outbox row has no aggregate id, so it has no key and no order.",
		"Write events through runnel.publish or the outbox package, which refuse it. The row can't be changed: have it parked (set capture.poison to park, run `runnel schemas apply`, restart the daemon), and `runnel dlq list --pipeline` shows it, to be discarded.")
	ErrUnknownEvent = fault.Define("EVENT_TYPE_UNKNOWN", fault.Runtime,
		"An outbox row has an event type that the catalog does not hold under its aggregate type.",
		"If its type or aggregate type is wrong, correct the writer. Else apply a catalog that has the event: `runnel schemas plan`, then `runnel schemas apply`. The daemon looks again every 30 s while it is halted, and goes on by itself.")
	ErrUnencodable = fault.Define("EVENT_UNENCODABLE", fault.Runtime,
		"An outbox row's payload does not fit its schema.",
		"The cause names the place. Correct the writer. The row can't be changed: have it parked (set capture.poison to park, run `runnel schemas apply`, restart the daemon), and `runnel dlq list --pipeline` shows it, to be retried or discarded; or apply a catalog whose schema the payload fits (`runnel schemas plan`, then `runnel schemas apply`), and mind that every consumer of the topic gets that schema. For that no restart is needed: the daemon looks again every 30 s while it is halted, and goes on by itself.")
	ErrHeaders = fault.Define("EVENT_HEADERS_INVALID", fault.Runtime,
		"An outbox row's headers are not a flat JSON object of strings, or use a reserved name.",
		"Headers hold only text values; id, type and position are reserved: correct the writer. The row can't be changed: have it parked (set capture.poison to park, run `runnel schemas apply`, restart the daemon), and `runnel dlq list --pipeline` shows it, to be discarded.")
	ErrTooLarge = fault.Define("EVENT_TOO_LARGE", fault.Runtime,
		"An event is larger than the broker, or the topic's own policy, accepts.",
		"Raise the topic's maxMessageSize (`pulsar-admin topicPolicies set-max-message-size TOPIC -m BYTES`), or the broker's: the daemon looks again every 30 s while it is halted, and goes on by itself. Or have it parked (set capture.poison to park, run `runnel schemas apply`, restart the daemon).")
	ErrBehind = fault.Define("EVENT_BEHIND_PARKED", fault.Runtime,
		"An earlier event of the same aggregate is parked, so this one waits behind it.",
		"See the earlier one in `runnel dlq list --pipeline`, put right what it says, then `runnel dlq retry --pipeline`.")
	ErrParkedLimit = fault.Define("PARKED_LIMIT", fault.Runtime,
		"An event would have to be parked, and as many are as may be: what is wrong concerns more than single events.",
		"The cause says what is wrong with this one; `runnel dlq list --pipeline` shows the others. Once that is put right, restart the daemon with a greater capture.parked_limit, which lets it past this event, then `runnel dlq retry --pipeline --all`.")
	ErrSpoilt = fault.Define("EVENT_SPOILT", fault.Runtime,
		"An event was on its way to its topic when the daemon ended, and can't be published any more; it can't be parked either, as later ones are.",
		"Undo what was changed meanwhile, which the cause names: the topic's or the broker's maxMessageSize, or the topic's schemas. The daemon looks again every 30 s, and goes on by itself.")
	ErrNoDeadLetters = fault.Define("DEAD_LETTERS_MISSING", fault.Runtime,
		"Parked events are to be released, and the pipeline has no dead-letter topic.",
		"Set capture.poison to park, run `runnel schemas apply`, then restart the daemon. If the topic was deleted, the events parked there are in the outbox as long as its retention keeps them.")
	ErrControl = fault.Define("CONTROL_INVALID", fault.Runtime,
		"A control record in the outbox's log can't be carried out.",
		"Somebody wrote to runnel.control by hand, or a newer `runnel` did: start a daemon that is as new. Only the schema's owner may write there.")
	ErrHole = fault.Define("REPLAY_MISMATCH", fault.Runtime,
		"A partition does not hold exactly the events that were routed to it: one is missing below its last message, or a foreign one is there.",
		"Do not delete the slot. Compare the partition with the outbox before going on.")
	ErrEpochAhead = fault.Define("EPOCH_AHEAD", fault.Runtime,
		"A topic holds events of a later history than the database's: the database was restored, cloned or replaced.",
		"Check that the daemon is connected to the right database; do not delete the slot.")
	ErrAckOrder = fault.Define("ACK_ORDER", fault.Runtime,
		"The broker acknowledged more messages than were sent to a partition.",
		"The run starts over by itself; report it if it comes back.")
	ErrProtocol = fault.Define("REPLICATION_PROTOCOL", fault.Runtime,
		"The replication stream is not in the order that the protocol promises.",
		"The run starts over by itself; report it if it comes back.")
)

// Faults lists this package's fault codes.
var Faults = []*fault.Code{ErrRoute, ErrRoutesChanged, ErrNoAggregateID, ErrUnknownEvent, ErrUnencodable,
	ErrHeaders, ErrTooLarge, ErrBehind, ErrParkedLimit, ErrSpoilt, ErrNoDeadLetters, ErrControl, ErrHole, ErrEpochAhead, ErrAckOrder, ErrProtocol}

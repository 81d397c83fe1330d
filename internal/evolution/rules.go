package evolution

import "github.com/runnel-cdc/runnel/schemas"

// The rules on a catalog's change as a whole; those on schemas are
// schemas.CompatRules.
var (
	EventRemoved = &schemas.Rule{
		ID: "EVENT_REMOVED", Section: "Runnel", Severity: schemas.Error,
		Summary: "An event type is gone from the catalog that was not deprecated before.",
		Breaks:  "Services that publish it are refused, and consumers wait for events that no longer come.",
		Fix:     "Put it back; or mark it first, with \"deprecated\": \"what to use instead\", and take it out with a later change.",
	}
	EventNeeded = &schemas.Rule{
		ID: "EVENT_STILL_READ", Section: "Runnel", Severity: schemas.Error,
		Summary: "An event type is taken out that a consumer handles, or has not read to its end.",
		Breaks:  "The consumer's code is built around an event that no longer comes; what is in its backlog it may not be able to name.",
		Fix:     "Release the consumer without the event, or let it catch up; a subscription that nobody uses is deleted with `pulsar-admin topics unsubscribe -s SUBSCRIPTION TOPIC`.",
	}
	EventMoved = &schemas.Rule{
		ID: "EVENT_AGGREGATE_CHANGED", Section: "Runnel", Severity: schemas.Error,
		Summary: "An event type belongs to another aggregate type than before.",
		Breaks:  "It goes to another topic: who reads the former one no longer gets it, and its order against the aggregate's other events is lost.",
		Fix:     "Keep the aggregate type, or publish an event type of another name.",
	}
	EventRerouted = &schemas.Rule{
		ID: "EVENT_TOPIC_CHANGED", Section: "Runnel", Severity: schemas.Warning,
		Summary: "An event type is routed to another topic than before.",
		Breaks:  "Who reads the former topic gets it no more, and who reads both has no order between what is in them.",
		Fix:     "Let its consumers read the new topic before services publish there; or leave the route as it was.",
	}
	WaiverExpired = &schemas.Rule{
		ID: "WAIVER_EXPIRED", Section: "Runnel", Severity: schemas.Warning,
		Summary: "The day of a waiver has come.",
		Breaks:  "It lets nothing pass any more.",
		Fix:     "Take it out; or give it a later day, if the reason is still true.",
	}
	WaiverMisses = &schemas.Rule{
		ID: "WAIVER_UNUSED", Section: "Runnel", Severity: schemas.Warning,
		Summary: "A waiver lets nothing pass, and a finding of its event and rule is in the way.",
		Breaks:  "The finding stays in the way.",
		Fix:     "Write the path, and the consumer, as the finding has them.",
	}
	NameUnknown = &schemas.Rule{
		ID: "NAME_UNKNOWN", Section: "Runnel", Severity: schemas.Warning,
		Summary: "catalog.yaml speaks of a topic or an event that there is not.",
		Breaks:  "What it says is without effect.",
		Fix:     "Correct the name; or take the entry out.",
	}
	// FieldRenamed is what compatibility by the specification has nothing against: with no
	// alias it would be a field that goes and another that comes.
	FieldRenamed = &schemas.Rule{
		ID: "FIELD_RENAMED", Section: "Runnel", Severity: schemas.Error,
		Summary: "A field with a default has another name, and its former one as an alias.",
		Breaks:  "They find the field missing and take its default, though the value is there: no error tells.",
		Fix:     "Keep the name. Or add a field of the new name, without an alias, and write both until no consumer reads the former one.",
	}
	ReaderLeft = &schemas.Rule{
		ID: "READER_OF_OLD_VERSION", Section: "Runnel", Severity: schemas.Error,
		Summary: "The level of the event lets the change through, but a consumer still reads with an older version that cannot.",
		Breaks:  "The consumer cannot read the new events: it parks them, or stops.",
		Fix: "Release the consumer with the new version first, then apply again. One that does not tell what it reads, and can take the change, " +
			"gets a waiver in catalog.yaml; a subscription that nobody uses is deleted with `pulsar-admin topics unsubscribe -s SUBSCRIPTION TOPIC`.",
	}
)

// Rules are the rules of this package.
var Rules = []*schemas.Rule{EventRemoved, EventNeeded, EventMoved, EventRerouted, FieldRenamed, ReaderLeft, WaiverExpired, WaiverMisses, NameUnknown}

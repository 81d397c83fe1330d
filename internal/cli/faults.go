package cli

import "github.com/runnel-cdc/runnel/internal/fault"

// The faults of the command line itself.
var (
	ErrUsage = fault.Define("USAGE", fault.Input,
		"The command line is not one that Runnel knows.",
		"Run the command with --help.")
	ErrFailed = fault.Define("FAILED", fault.Runtime,
		"Something failed that has no code of its own.",
		"The message names the cause. If it does not help, report it with the output of `runnel version`.")
	ErrInterrupted = fault.Define("INTERRUPTED", fault.Runtime,
		"A signal ended the command.",
		"Nothing to do; run it again to go on.")
	ErrOutput = fault.Define("OUTPUT_FAILED", fault.Runtime,
		"The result cannot be written.",
		"Check the disk, or the program that reads the output.")
	ErrChecks = fault.Define("DOCTOR_FAILED", fault.Environment,
		"A check of the environment failed.",
		"Follow the remedy of each failed check, then run the doctor again.")
	ErrChecksInput = fault.Define("DOCTOR_INPUT", fault.Input,
		"A check found the input wrong.",
		"Follow the remedy of each failed check, then run the doctor again.")
	ErrEventUnknown = fault.Define("EVENT_TYPE_NOT_IN_CATALOG", fault.Input,
		"The catalog has no such event type.",
		"Correct the name, or add the event's .avsc file to the catalog.")
	ErrNotCurrent = fault.Define("GENERATED_NOT_CURRENT", fault.Input,
		"Generated files differ from what the catalog gives.",
		"Generate them again without --check.")
	ErrSchemaFile = fault.Define("SCHEMA_FILE_UNREADABLE", fault.Input,
		"The file with a schema cannot be read.",
		"Check the path; - is standard input.")
	ErrFindings = fault.Define("SCHEMA_FINDINGS", fault.Input,
		"Something was found in the schemas that must be mended.",
		"Follow what stands below each finding. Of lint, docs/lint-rules.md has the rules and how to leave one out; of check, docs/schemas.md has them and the waivers.")
	ErrDevDown = fault.Define("DEV_SERVERS_DOWN", fault.Environment,
		"The local servers do not run.",
		"Start them with `runnel dev up`. Those that were started with --dir are found with it alone: give `runnel dev env` the same one.")
	ErrNotParked = fault.Define("EVENT_NOT_PARKED", fault.Input,
		"No event with the id that was given is parked.",
		"See what is parked with `runnel dlq list`; what was retried or discarded is not any more.")
	ErrTopicUnknown = fault.Define("TOPIC_UNKNOWN", fault.Environment,
		"There is no topic to read.",
		"Name one with --topic, or publish something first: `runnel run --auto-apply` creates the topics.")
)

// Faults are all faults of this package.
var Faults = []*fault.Code{
	ErrUsage, ErrFailed, ErrInterrupted, ErrOutput, ErrChecks, ErrChecksInput, ErrEventUnknown, ErrNotCurrent, ErrSchemaFile, ErrFindings,
	ErrDevDown, ErrNotParked, ErrTopicUnknown,
}

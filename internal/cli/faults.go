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
	ErrTopicUnknown = fault.Define("TOPIC_UNKNOWN", fault.Environment,
		"There is no topic to read.",
		"Name one with --topic, or publish something first: `runnel run --auto-apply` creates the topics.")
)

// Faults are all faults of this package.

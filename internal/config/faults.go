package config

import "github.com/runnel-cdc/runnel/internal/fault"

// The faults of a configuration.
var (
	ErrNotFound = fault.Define("CONFIG_NOT_FOUND", fault.Input,
		"The configuration file cannot be read.",
		"Check the path given by --config or RUNNEL_CONFIG.")
	ErrSyntax = fault.Define("CONFIG_SYNTAX", fault.Input,
		"The configuration file is not the YAML that Runnel reads.",
		"Correct the file: one document, mappings and scalars, no anchors, aliases or tags.")
	ErrUnknownKey = fault.Define("CONFIG_UNKNOWN_KEY", fault.Input,
		"The configuration file holds a key that Runnel does not know.",
		"Remove it or correct its spelling; `runnel config show` lists all keys.")
	ErrType = fault.Define("CONFIG_TYPE", fault.Input,
		"A configuration value has the wrong type.",
		"Write the value as the message asks.")
	ErrValue = fault.Define("CONFIG_VALUE", fault.Input,
		"A configuration value is malformed or out of bounds.",
		"Write the value as the message asks.")
	ErrMissing = fault.Define("CONFIG_MISSING", fault.Input,
		"A value that this command needs was not given.",
		"Give it by flag, environment variable or configuration file.")
	ErrSecretInline = fault.Define("CONFIG_SECRET_INLINE", fault.Input,
		"A secret is written in the configuration file.",
		"Put the secret into a file of its own or into the environment.")
	ErrSecretFile = fault.Define("SECRET_FILE_UNREADABLE", fault.Environment,
		"A file that holds a secret cannot be read or is empty.",
		"Make the file readable for the user that runs Runnel, and write the secret into it.")
)

// Faults are all faults of this package.
var Faults = []*fault.Code{
	ErrNotFound, ErrSyntax, ErrUnknownKey, ErrType, ErrValue, ErrMissing,
	ErrSecretInline, ErrSecretFile,
}

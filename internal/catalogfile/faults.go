package catalogfile

import "github.com/runnel-cdc/runnel/internal/fault"

// The faults of catalog.yaml.
var (
	ErrUnreadable = fault.Define("CATALOG_FILE_UNREADABLE", fault.Environment,
		"The catalog's catalog.yaml is there and cannot be read.",
		"Make it a file that the process may read.")
	ErrSyntax = fault.Define("CATALOG_FILE_SYNTAX", fault.Input,
		"The catalog's catalog.yaml is not the YAML that Runnel reads.",
		"Correct the file: one document, mappings and scalars, no anchors, aliases or tags.")
	ErrUnknownKey = fault.Define("CATALOG_FILE_UNKNOWN_KEY", fault.Input,
		"The catalog's catalog.yaml holds a key that Runnel does not know.",
		"Remove it or correct its spelling.")
	ErrType = fault.Define("CATALOG_FILE_TYPE", fault.Input,
		"A value in catalog.yaml has the wrong type.",
		"Write the value as the message asks.")
	ErrValue = fault.Define("CATALOG_FILE_VALUE", fault.Input,
		"A value in catalog.yaml names something that does not exist.",
		"Write the value as the message asks.")
)

// Faults are all faults of this package.
var Faults = []*fault.Code{ErrUnreadable, ErrSyntax, ErrUnknownKey, ErrType, ErrValue}

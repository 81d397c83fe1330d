package gen

import "github.com/runnel-cdc/runnel/internal/fault"

// The faults of this package.
var (
	ErrPackageName = fault.Define("GEN_PACKAGE_NAME", fault.Input,
		"Generated code needs the name of a Go package.",
		"Give one of lower-case letters and digits that is not a keyword, as in --package events.")
	ErrForeignFile = fault.Define("GEN_FOREIGN_FILE", fault.Input,
		"A file that Runnel did not generate has the name of one it would write.",
		"Move the file, or generate into another folder.")
)

// Faults lists the codes of this package.
var Faults = []*fault.Code{ErrPackageName, ErrForeignFile}

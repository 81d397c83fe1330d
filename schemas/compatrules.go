package schemas

// Sections of the specification that rules rest on.
const (
	sectionResolution = "Schema Resolution"
	sectionDecimal    = "Decimal"
	sectionRunnel     = "Runnel"
)

// Errors: some datum of the writer's cannot be read.
var (
	ruleTypeMismatch = &Rule{
		ID: "TYPE_MISMATCH", Section: sectionResolution, Severity: Error,
		Summary: "The writer's type is neither the reader's nor promotable to it.",
		Breaks:  "The reader fails at every value of the field.",
		Fix:     "Keep the type, or widen it: int to long, float or double; long to float or double; float to double; string to bytes and back. Else add a field of another name.",
	}
	ruleNameMismatch = &Rule{
		ID: "NAME_MISMATCH", Section: sectionResolution, Severity: Error,
		Summary: "A record, an enum or a fixed has another name.",
		Breaks:  "The reader fails at every value of the type: types match by their unqualified names.",
		Fix:     "Keep the name, or give the reader's type the writer's full name as an alias.",
	}
	ruleFixedSize = &Rule{
		ID: "FIXED_SIZE_CHANGED", Section: sectionResolution, Severity: Error,
		Summary: "A fixed has another size.",
		Breaks:  "The reader fails at every value of the type.",
		Fix:     "Keep the size, or add a field with a fixed of another name.",
	}
	ruleFieldMissing = &Rule{
		ID: "FIELD_WITHOUT_DEFAULT", Section: sectionResolution, Severity: Error,
		Summary: "The reader has a field that the writer does not have, and no default for it.",
		Breaks:  "The reader fails at every value of the record.",
		Fix:     "Give the field a default in the reader (one that may be null needs it, too: \"default\": null, with null first); or, if it was renamed, the writer's name as an alias.",
	}
	ruleSymbolUnknown = &Rule{
		ID: "ENUM_SYMBOL_UNKNOWN", Section: sectionResolution, Severity: Error,
		Summary: "The writer's enum has a symbol that the reader's does not have, and the reader's enum has no default.",
		Breaks:  "The reader fails at every value with the symbol. The default of a field does not stand in for that of the enum.",
		Fix:     "Add the symbol to the reader's enum, or give that enum a default.",
	}
	ruleBranchMissing = &Rule{
		ID: "UNION_BRANCH_MISSING", Section: sectionResolution, Severity: Error,
		Summary: "The writer has a type, or a branch of its union, that no branch of the reader's takes.",
		Breaks:  "The reader fails at every value of that branch.",
		Fix:     "Add the branch to the reader's union; branches may be added, not removed.",
	}
	ruleDecimalChanged = &Rule{
		ID: "DECIMAL_CHANGED", Section: sectionDecimal, Severity: Error,
		Summary: "Two decimals differ in precision or scale.",
		Breaks:  "They do not match. A reader that does not check shows other numbers, wrong by powers of ten.",
		Fix:     "Keep precision and scale, or add a field with the new ones.",
	}
	ruleUnitChanged = &Rule{
		ID: "UNIT_CHANGED", Section: sectionRunnel, Severity: Error,
		Summary: "A date, a time or a timestamp has another unit, or has become another of these.",
		Breaks:  "The number is kept and means something else: a thousandfold, or days for milliseconds. No reader notices.",
		Fix:     "Keep the logical type, or add a field with the new one.",
	}
	ruleTooLarge = &Rule{
		ID: "COMPARISON_TOO_LARGE", Section: sectionRunnel, Severity: Error,
		Summary: "The schemas are too large to compare.",
		Breaks:  "There is no verdict: more than a million comparisons were made without coming to an end.",
		Fix:     "Split the schemas into smaller types.",
	}
)

// Warnings: all data resolves, but not always to what was meant.
var (
	ruleNarrowed = &Rule{
		ID: "VALUES_NARROWED", Section: sectionRunnel, Severity: Warning,
		Summary: "Not every value of the writer's type is one of the reader's.",
		Breaks:  "Runnel's reader fails at values that do not fit: a string that is no uuid, a number that is no time of day, bytes that are not UTF-8, too many digits. Others may go on with wrong ones.",
		Fix:     "Make sure that all data written so far fits, or keep the wider type in the reader.",
	}
	rulePrecisionLost = &Rule{
		ID: "PRECISION_LOST", Section: sectionRunnel, Severity: Warning,
		Summary: "The promotion rounds large numbers.",
		Breaks:  "Beyond 2^24 in a float and 2^53 in a double the reader sees the nearest number that there is: an identifier may become another one.",
		Fix:     "Widen int to long or double, and leave long as it is.",
	}
	ruleMeaningChanged = &Rule{
		ID: "MEANING_CHANGED", Section: sectionRunnel, Severity: Warning,
		Summary: "The reader's logical type gives the same value another meaning.",
		Breaks:  "A timestamp read as a local one, or the other way round, is wrong by the offset of a time zone that neither schema names.",
		Fix:     "Keep the logical type, or add a field with the new one.",
	}
	ruleBranchAmbiguous = &Rule{
		ID: "BRANCH_AMBIGUOUS", Section: sectionRunnel, Severity: Warning,
		Summary: "An earlier branch of the reader's union matches, too.",
		Breaks:  "Runnel takes the branch of the very same type and full name, as Java does. A reader that goes by the letter of the specification takes the first that matches.",
		Fix:     "Put the branch of the same type first.",
	}
	ruleFieldAmbiguous = &Rule{
		ID: "FIELD_AMBIGUOUS", Section: sectionRunnel, Severity: Warning,
		Summary: "The writer has several fields that are meant by one of the reader's, by its name and its aliases.",
		Breaks:  "Runnel takes the field of that name, else the first alias. Avro's Java library renames both, finds two of one name and refuses to read.",
		Fix:     "Remove the alias, once no data is read that has the field under its old name alone.",
	}
)

// CompatRules are all rules that Compatibility applies: errors first. The slice
// and the rules must not be changed.
var CompatRules = []*Rule{
	ruleTypeMismatch, ruleNameMismatch, ruleFixedSize, ruleFieldMissing, ruleSymbolUnknown, ruleBranchMissing,
	ruleDecimalChanged, ruleUnitChanged, ruleTooLarge,
	ruleNarrowed, rulePrecisionLost, ruleMeaningChanged, ruleBranchAmbiguous, ruleFieldAmbiguous,
}

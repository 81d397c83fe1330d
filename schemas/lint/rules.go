package lint

import (
	"github.com/runnel-cdc/runnel/schemas"
)

// Category groups rules.
type Category string

// The categories, in the order of the documentation.
const (
	Topic   Category = "topic"   // what spoils the topic for its readers
	Types   Category = "types"   // values that are not what they seem
	Names   Category = "names"   // what things are called
	Docs    Category = "docs"    // what is said about them
	Folders Category = "catalog" // the folder as a whole
)

// Rule is something that is looked for.
type Rule struct {
	ID       string // stable; findings carry it
	Category Category
	Severity Severity
	Finds    string // a sentence: what it finds
	Why      string // a sentence: why that matters
}

// Rules returns all rules, by category.
func Rules() []Rule {
	all := make([]Rule, len(registry))
	for i, r := range registry {
		all[i] = r.Rule
	}
	return all
}

func findRule(id string) (Rule, bool) {
	for _, r := range registry {
		if r.ID == id {
			return r.Rule, true
		}
	}
	return Rule{}, false
}

// rule is a Rule with its code, of which one or more are there: for the catalog
// as a whole, for a named type, for a field, and for every schema where it
// stands, named or not.
type rule struct {
	Rule
	whole  func(l *linter)
	typ    func(l *linter, s *schemas.Schema)
	field  func(l *linter, s *schemas.Schema, f *schemas.Field)
	schema func(l *linter, at spot)
	// needsAll: not to be judged while files are left out that do not parse.
	needsAll bool
}

// Rules without code in the registry: ignore and notRead find them.
const (
	ignoreUnused = "IGNORE_UNUSED"
	fileNotRead  = "FILE_NOT_READ"
)

// registry holds all rules, by category.
var registry = []rule{
	{Rule: Rule{"DEFAULT_INSIDE_ITSELF", Topic, Error,
		"A default holds a value of a record that contains the field itself.",
		"Avro's Java library reads a default while that record is still being defined, and refuses the schema of the whole topic."},
		field: defaultInsideItself},
	{Rule: Rule{"AGGREGATE_RESERVED", Topic, Error,
		"An aggregate type makes a name that Pulsar keeps for itself.",
		"The topic named after it cannot be created, or is taken for a part of another."},
		typ: aggregateReserved},
	{Rule: Rule{"ALIAS_AMBIGUOUS", Topic, Error,
		"Two types have the same alias.",
		"A reader cannot tell which of them takes what was written under the old name."},
		whole: aliasAmbiguous},

	{Rule: Rule{"LOGICAL_TYPE_IGNORED", Types, Error,
		"A logical type does not fit the type that carries it, or a decimal its precision and scale.",
		"Avro then ignores it without a word: readers get bare bytes and numbers."},
		schema: logicalTypeIgnored},
	{Rule: Rule{"ATTRIBUTE_MISPLACED", Types, Error,
		"An attribute of Avro stands where it means nothing: a logicalType beside the type, a default inside it.",
		"Avro ignores it without a word: the field has no such default, no such logical type."},
		field: fieldAttributes, schema: schemaAttributes},
	{Rule: Rule{"LOGICAL_TYPE_UNKNOWN", Types, Warning,
		"A logical type that Avro does not define.",
		"Readers ignore it without a word; most often it is misspelt."},
		schema: logicalTypeUnknown},
	{Rule: Rule{"LOGICAL_TYPE_TOO_NEW", Types, Warning,
		"A logical type that Avro 1.11 cannot read, which Pulsar 4.0 and its clients carry.",
		"Their readers get bare bytes and numbers, or fail."},
		schema: logicalTypeTooNew},
	{Rule: Rule{"MONEY_AS_FLOAT", Types, Warning,
		"A float or double that is called an amount of money.",
		"A float does not hold 0.10: sums drift, and equal amounts differ."},
		field: moneyAsFloat},
	{Rule: Rule{"TIME_WITHOUT_LOGICAL_TYPE", Types, Warning,
		"A number or a string that is called a time or a date.",
		"Whether it counts seconds or milliseconds, and in which zone, every reader has to guess."},
		field: timeWithoutLogicalType},
	{Rule: Rule{"UUID_AS_STRING", Types, Warning,
		"A string that is called a UUID.",
		"Any text passes for one; with the logical type, only a UUID does."},
		field: uuidAsString},
	{Rule: Rule{"ENUM_WITHOUT_DEFAULT", Types, Warning,
		"An enum without a default.",
		"A reader that was built earlier cannot read a symbol that is added later, and stops at the first event with it."},
		typ: enumWithoutDefault},
	{Rule: Rule{"NULLABLE_WITHOUT_DEFAULT", Types, Warning,
		"A field that may be null and has no default.",
		"Such a field can neither be added to an event nor removed from it: readers of the other version find nothing to fill it with."},
		field: nullableWithoutDefault},
	{Rule: Rule{"UNION_AMBIGUOUS", Types, Warning,
		"Two branches of a union that cannot be told apart everywhere.",
		"A value of one may be read as the other: by readers of another version, or out of JSON."},
		schema: unionAmbiguous},
	{Rule: Rule{"RECORD_EMPTY", Types, Warning,
		"A record without fields.",
		"Formats with columns, such as Parquet, cannot hold it, so its readers fail there."},
		typ: recordEmpty},
	{Rule: Rule{"PROPERTY_MISSPELT", Types, Warning,
		"A property whose name is nearly one of Avro's, or of Runnel's.",
		"A misspelt attribute is taken for a property of your own, and does nothing."},
		typ: typeMisspelt, field: fieldMisspelt},
	{Rule: Rule{"DEPRECATED_INVALID", Types, Warning,
		"The property deprecated is neither true nor a reason.",
		"Generated code and documentation then do not mark it."},
		typ: typeDeprecated, field: fieldDeprecated},

	{Rule: Rule{"NAMES_ALIKE", Names, Warning,
		"Two names that are one in generated Go code, or differ in nothing but case and underscores.",
		"The one that comes later gets a number in Go; in SQL, and in file names, they may be the same."},
		whole: typesAlike, typ: membersAlike},
	{Rule: Rule{"NAME_RESERVED", Names, Warning,
		"A type, or a part of a namespace, named by a word that Java reserves.",
		"Avro's Java code calls the class or package otherwise, and does not always find it again."},
		typ: nameReserved},
	{Rule: Rule{"TYPE_NAME_STYLE", Names, Warning,
		"A type that is not named in UpperCamelCase.",
		"It becomes the name of a class in most languages, where others look out of place."},
		typ: typeNameStyle},
	{Rule: Rule{"FIELD_NAME_STYLE", Names, Warning,
		"A field that is not named as most fields of the catalog are, in snake_case or in lowerCamelCase.",
		"Who writes JSON by hand, or reads columns, has to look up each name."},
		whole: fieldNameStyle},
	{Rule: Rule{"SYMBOL_NAME_STYLE", Names, Warning,
		"An enum with symbols that are not in UPPER_SNAKE_CASE.",
		"Symbols are constants in every language, and cannot be renamed later."},
		typ: symbolNameStyle},
	{Rule: Rule{"NAMESPACE_MIXED", Names, Warning,
		"A type without a namespace in a catalog where most have one, or the other way round.",
		"The namespace is part of an event's type, which consumers dispatch on."},
		whole: namespaceMixed},
	{Rule: Rule{"FILE_NAME", Names, Warning,
		"A file that is not named after the type in it.",
		"Files are found by the type's name; on some systems two names may even be one file."},
		whole: fileName},

	{Rule: Rule{"TYPE_WITHOUT_DOC", Docs, Warning,
		"A type without a doc.",
		"What an event means, and when it happens, is known to its writers alone."},
		typ: typeWithoutDoc},
	{Rule: Rule{"FIELD_WITHOUT_DOC", Docs, Warning,
		"A field without a doc.",
		"Its unit, its format and the meaning of null are known to its writers alone."},
		field: fieldWithoutDoc},
	{Rule: Rule{"DOC_REPEATS_NAME", Docs, Warning,
		"A doc that says no more than the name.",
		"It looks explained, and is not."},
		typ: typeDocRepeatsName, field: fieldDocRepeatsName},

	{Rule: Rule{"TYPE_UNUSED", Folders, Warning,
		"A type that no event uses.",
		"It is registered nowhere and read by nobody; perhaps it was to be an event."},
		whole: typeUnused, needsAll: true},
	{Rule: Rule{"FILE_HOLDS_SEVERAL", Folders, Warning,
		"A file that defines more than one type.",
		"A type within another's file is not found by its name, and other files come to depend on that one."},
		whole: fileHoldsSeveral},
	{Rule: Rule{"AGGREGATES_ALIKE", Folders, Warning,
		"Two aggregate types that differ in nothing but case, separators or a plural.",
		"Each is a topic of its own, so events of one thing would be in two, in no order."},
		whole: aggregatesAlike},
	{Rule: Rule{fileNotRead, Folders, Warning,
		"A file whose name is nearly that of a schema, or of catalog.yaml.",
		"It is passed over without a word: its event is registered nowhere, its levels and waivers do not hold."}},
	{Rule: Rule{ignoreUnused, Folders, Warning,
		"An entry of catalog.yaml that ignores nothing.",
		"It hides the next such finding, which nobody has judged."}},
}

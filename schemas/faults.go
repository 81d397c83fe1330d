package schemas

import (
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/schemas/avro"
)

// Faults of schema files.
var (
	ErrSyntax = fault.Define("SCHEMA_SYNTAX", fault.Input,
		"The file is not JSON, or not an Avro schema.",
		"Correct the file at the place named.")
	ErrUnresolvedReference = fault.Define("SCHEMA_UNRESOLVED_REFERENCE", fault.Input,
		"A type is used that no file defines.",
		"Add the .avsc file that defines the type, or correct the name; names from another namespace are written in full.")
	ErrDuplicateName = fault.Define("SCHEMA_DUPLICATE_NAME", fault.Input,
		"Two types have the same full name.",
		"Rename one of them, or give it another namespace.")
	ErrInvalidName = fault.Define("SCHEMA_INVALID_NAME", fault.Input,
		"A name is not one Avro allows.",
		"Start names with a letter or _ and go on with letters, digits and _.")
	ErrInvalidDefault = fault.Define("SCHEMA_INVALID_DEFAULT", fault.Input,
		"A default does not fit its type.",
		"Give a default of the field's type; for a union, of its first branch (so null comes first).")
	ErrInvalidUnion = fault.Define("SCHEMA_INVALID_UNION", fault.Input,
		"A union is not one Avro allows.",
		"Give a union at least one branch, no union inside it, and each unnamed type once.")
	ErrInvalidAlias = fault.Define("SCHEMA_INVALID_ALIAS", fault.Input,
		"An alias is the name of something that exists.",
		"Remove the alias: it stands for an old name only.")
	ErrUnbounded = fault.Define("SCHEMA_UNBOUNDED", fault.Input,
		"A record always contains itself, so that no value of it can end.",
		"Put the inner use into a union with null, an array or a map.")
	ErrSchemaTooLarge = fault.Define("SCHEMA_TOO_LARGE", fault.Input,
		"A schema is larger or more deeply nested than Runnel reads.",
		"Split the schema into smaller types.")
	ErrNotAnEvent = fault.Define("SCHEMA_NOT_AN_EVENT", fault.Input,
		"An event is a record with the property \"aggregate\".",
		"Add \"aggregate\": \"<aggregate type>\" to the record.")
	ErrCatalogMissing = fault.Define("CATALOG_MISSING", fault.Input,
		"There is no such folder of schemas.",
		"Name a folder that is there, with .avsc files in it.")
	ErrCatalogUnreadable = fault.Define("CATALOG_UNREADABLE", fault.Environment,
		"The folder of schemas cannot be read.",
		"Name a folder with .avsc files that the process may read.")
	ErrCatalogEmpty = fault.Define("CATALOG_EMPTY", fault.Input,
		"The folder of schemas holds no .avsc file.",
		"Add .avsc files, one named type a file.")
	ErrSchemaConflict = fault.Define("SCHEMA_CONFLICT", fault.Input,
		"One schema would hold two definitions of the same name.",
		"Compose a topic's schema from the events of one catalog.")
	ErrNotATopicSchema = fault.Define("SCHEMA_NOT_A_TOPIC", fault.Input,
		"The topic's schema is not one Runnel composed: a record with one field `event`, a union of event records.",
		"Give Runnel a topic, or a namespace, of its own.")
)

// Faults of data.
var (
	ErrUnknownEvent = fault.Define("EVENT_NOT_REGISTERED", fault.Input,
		"No registered schema of the topic holds an event type of this name.",
		"Correct the event type, or add its .avsc file to the catalog and apply that (`runnel schemas plan`, then `runnel schemas apply`).")
	ErrUnknownFingerprint = fault.Define("EVENT_VERSION_NOT_REGISTERED", fault.Input,
		"No registered schema of the topic holds this version of the event type.",
		"Apply the catalog that the writing service was built with (`runnel schemas plan`, then `runnel schemas apply`).")
	ErrInvalidAvro = avro.ErrData // generated code finds the same
	ErrInvalidJSON = fault.Define("INVALID_JSON", fault.Input,
		"The JSON does not fit the event's schema.",
		"Correct the value at the path named, in the service that wrote it.")
	ErrIncompatible = fault.Define("SCHEMA_INCOMPATIBLE", fault.Input,
		"Data of the writer's schema cannot be read under the reader's.",
		"Give added fields a default and keep types and names; renamed things need an alias in the reader.")
)

// Faults of the registry.
var (
	ErrRegistryUnreachable = fault.Define("SCHEMA_REGISTRY_UNREACHABLE", fault.Environment,
		"The broker's admin address does not answer as Pulsar's schema registry does.",
		"Check the admin address (--pulsar-admin, RUNNEL_PULSAR_ADMIN_URL) and that the broker is up.")
	ErrRegistryForbidden = fault.Define("SCHEMA_REGISTRY_FORBIDDEN", fault.Environment,
		"The broker does not let this identity use the registry.",
		"Give the token's role the right to administer the namespace.")
	ErrRegistryNotFound = fault.Define("SCHEMA_REGISTRY_NOT_FOUND", fault.Environment,
		"The namespace, or the version asked for, does not exist.",
		"Apply the catalog first (`runnel schemas plan`, then `runnel schemas apply`).")
	ErrRegistryRefused = fault.Define("SCHEMA_REGISTRY_REFUSED", fault.Input,
		"The broker refused the schema.",
		"Set the topic's compatibility strategy to ALWAYS_COMPATIBLE, as Runnel's own namespace has it.")
	ErrRegistryMismatch = fault.Define("SCHEMA_REGISTRY_MISMATCH", fault.Runtime,
		"What the registry returned is not what was registered.",
		"Look for another writer of the topic's schema; only Runnel may register on its topics.")
)

// Faults lists every fault of the package, for the documentation.
var Faults = []*fault.Code{
	ErrSyntax, ErrUnresolvedReference, ErrDuplicateName, ErrInvalidName, ErrInvalidDefault, ErrInvalidUnion,
	ErrInvalidAlias, ErrUnbounded, ErrSchemaTooLarge, ErrNotAnEvent, ErrCatalogMissing, ErrCatalogUnreadable, ErrCatalogEmpty,
	ErrSchemaConflict, ErrNotATopicSchema,
	ErrUnknownEvent, ErrUnknownFingerprint, ErrInvalidAvro, ErrInvalidJSON, ErrIncompatible,
	ErrRegistryUnreachable, ErrRegistryForbidden, ErrRegistryNotFound, ErrRegistryRefused, ErrRegistryMismatch,
}

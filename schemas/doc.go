// Package schemas holds what Runnel knows of Avro: the catalog of .avsc files, the
// schemas of topics, the registry, and the ways between JSON, Avro and versions of
// a schema.
//
//	.avsc files --Load--> Catalog --Compose--> TopicSchema --Register--> Registry
//	                                               |
//	                              NewTopicCodec (all registered versions)
//	                                               |
//	outbox row, Avro --AppendAvro (validated)------+--> message: branch + event
//	outbox row, JSON --AppendJSON (transcoded)-----+
//
//	message --Split--> event --Resolver (writer's to reader's schema)--> generated type
//
//	reader's and writer's schema --Compatibility--> findings: what cannot be read, and where
//
// It reads and writes Avro binary by its own code, so that nothing from outside
// meets a decoder that has not been bounded: see Validate. Whether a reader's schema
// reads a writer's data is its own verdict too, written from the specification, since
// every library and registry is wrong on some pairs (docs/compatibility.md). It does not decide which changes
// a catalog may make, and does not generate code: that is package gen's.
//
// Events in JSON may hold what Postgres' to_jsonb makes of a row. AppendJSONToAvro
// lists the forms of every Avro type; by type of column:
//
//	boolean                  boolean
//	int2, int4, int8         int, long
//	float4, float8           float, double; "NaN" and the infinities too
//	numeric                  decimal, exact or refused, never by way of a float; float, double
//	text, varchar, enum, ... string, enum; what is no string in JSON must be cast to text
//	uuid                     uuid
//	bytea                    bytes, fixed: in the hex form ("\x00ff"), not in the escape form, not in base64
//	date, time               date; time-millis, time-micros
//	timestamptz              timestamp-millis, -micros, -nanos
//	timestamp                local-timestamp-millis, -micros, -nanos
//	arrays                   array, nested for several dimensions, items nullable or not
//	jsonb                    whatever its value fits
//	null                     a union with null
//
// Start with Catalog, then EventType, TopicSchema and TopicCodec. Of the files,
// parse*.go read schemas, jsontape.go cuts JSON into tokens for both schemas and
// data, fromjson*.go and tojson.go transcode (with civil.go, decimal.go and uuid.go
// for logical types), validate.go and resolve*.go walk binary data. compat.go is the
// verdict, with its rules in compatrules.go; compatmatch.go holds what "match" means,
// for the verdict and for Resolver.
package schemas

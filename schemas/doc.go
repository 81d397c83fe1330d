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
// It reads and writes Avro binary by its own code, so that nothing from outside
// meets a decoder that has not been bounded: see Validate. It does not judge
// whether a change of a schema may be made, and does not generate code: that is
// package gen's.
//
// Start with Catalog, then EventType, TopicSchema and TopicCodec. Of the files,
// parse*.go read schemas, jsontape.go cuts JSON into tokens for both schemas and
// data, fromjson*.go and tojson.go transcode, validate.go and resolve*.go walk
// binary data.
package schemas

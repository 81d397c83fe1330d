// Package catalogfile reads catalog.yaml, the optional file in a folder of
// schemas for what Avro cannot say:
//
//	lint:
//	  ignore:
//	    - UUID_AS_STRING                                     # a rule, everywhere
//	    - {rule: FIELD_WITHOUT_DOC, path: OrderPlaced.note}  # or at a type, a field, a glob of them
//	compatibility: FULL_TRANSITIVE                           # of all events
//	topics:
//	  order: {owner: orders}
//	events:
//	  OrderPlaced: {compatibility: BACKWARD_TRANSITIVE, owner: orders, tags: [pii]}
//	waivers:
//	  - {event: OrderPlaced, rule: FIELD_WITHOUT_DEFAULT, path: $.note, reason: no reader is left, owner: orders, expires: 2027-01-31}
//
// The file is strict: an unknown key or a wrong type is a fault with
// file:line:col, and all of them are reported at once. What the values mean is
// not decided here: whether there is such a rule, package lint knows.
//
// Start with File, then Read. A further section is a field of File, a case in
// reader.file, and a method that walks it as reader.lint does.
package catalogfile

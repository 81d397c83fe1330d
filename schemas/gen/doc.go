// Package gen writes Go code for a catalog: a plain struct for every record,
// with encoding and decoding that uses no reflection. It is what
// `runnel schemas gen go` calls. It generates types only; it neither validates
// schemas (package schemas does, in Load) nor runs the Go tools.
//
//	Catalog --plan--> names, unions, sizes --emit--> append and read methods --gofmt--> files
//
// How Avro becomes Go:
//
//	record                     struct; its fields in the schema's order
//	enum                       typed string with constants and Valid; "" is invalid
//	fixed                      [N]byte of its own type
//	array, map                 []T, map[string]T; a map's keys are encoded in order
//	["null", T], [T, "null"]   *T; for bytes, arrays and maps T itself, where nil is null
//	[T]                        T
//	other unions               sealed interface: records, enums and fixed are branches
//	                           themselves, others are wrapped in struct{Value T};
//	                           nil is null, and an error without a null branch
//	null                       struct{}
//	timestamp-*, date          time.Time in UTC (a date: at midnight)
//	local-timestamp-*          time.Time whose date and clock count, not its location
//	time-*                     time.Duration since midnight
//	uuid (string, fixed 16)    uuid.UUID
//	decimal (bytes, fixed)     decimal.Decimal, exact or refused
//	duration                   avro.Duration
//
// Names are exported by words: order_id is OrderID. A clash is settled the same
// way in every run: types of the same name take the last parts of their
// namespace (shop.Address, bill.Address: ShopAddress, BillAddress); anything
// else that is already taken, in the order of the schema, gets _2, _3.
//
// Start with Go, then plan.go; emit_append.go and emit_read.go mirror each other.
package gen

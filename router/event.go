package router

import "github.com/runnel-cdc/runnel/internal/position"

// Encoding says how an event's payload is encoded in the outbox.
type Encoding uint8

// The encodings, with the values of the outbox column.
const (
	Avro Encoding = 1 // Avro binary, writer schema named by Fingerprint
	JSON Encoding = 2 // Avro's JSON encoding or plain JSON
)

// Event is one captured outbox row. Its byte slices alias the memory of the
// Batch it came in: they stay valid until that is released, and must not be
// changed.
type Event struct {
	Position      position.Position
	ID            [16]byte // UUID
	Seq           int64    // identity of the row; not commit order
	AggregateType []byte
	AggregateID   []byte // the message key
	Type          []byte // event type
	Encoding      Encoding
	Fingerprint   [32]byte // of the writer schema; zero for JSON
	Payload       []byte
	Headers       []byte // JSON object of string to string; `{}` or empty when none
	OccurredAt    int64  // microseconds since the Unix epoch
}

// Transaction is a captured transaction's frame.
type Transaction struct {
	Position position.Position // with Index 0: epoch and commit LSN as Begin carries it
	XID      uint32            // 0 for the rows that were there before the slot
	// Committed is the commit time in microseconds since the Unix epoch.
	Committed int64
}

// Control is a row of runnel.control for this pipeline: a decision that the rows after
// it are subject to. It has a position of its own, as if it were one of them.
type Control struct {
	Position position.Position
	Kind     string
	Body     []byte // JSON; it aliases nothing
}

// InputKind says what an Input is.
type InputKind uint8

// The inputs of one replication stream, in the order in which they may occur:
// (Begin (Row | ControlRecord)* Commit | WALEnd)*.
const (
	Begin InputKind = iota + 1
	Row
	Commit
	WALEnd // the server has sent everything up to LSN
	ControlRecord
)

// Input is one step of the replication stream.
type Input struct {
	Kind        InputKind
	Event       Event       // Row
	Transaction Transaction // Begin
	LSN         uint64      // Commit: end of the commit record; WALEnd
	Epoch       uint32      // WALEnd: of LSN
	Control     *Control    // ControlRecord
}

// Batch is what the capture hands over at once: inputs in stream order, with
// the memory they alias. Batches only exist to make handing over cheap; their
// boundaries mean nothing.
type Batch struct {
	Inputs []Input
	Bytes  int // payload bytes, for accounting
	// Release, if not nil, lets the memory of Inputs, and what they alias, be used again. It
	// may be called once, when nothing refers to them any more. What is never released is the
	// collector's.
	Release func()
}

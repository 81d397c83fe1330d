package schemas

// Payload is an event that encodes itself: the types that `runnel schemas gen
// go` writes implement it.
type Payload interface {
	// EventType describes the event; it works on the zero value.
	EventType() *EventType
	// AppendAvro appends the event in Avro binary under EventType().Schema. It
	// validates (enum symbols, decimal scale, UTF-8) and uses no reflection.
	AppendAvro(dst []byte) ([]byte, error)
}

// Decoder is an event that reads itself; generated types implement it on the
// pointer.
type Decoder interface {
	// DecodeAvro reads exactly one value written under the type's own schema
	// and refuses trailing bytes. Nothing of data is retained.
	DecodeAvro(data []byte) error
}

package consumers_test

import (
	"encoding/binary"
	"errors"

	"github.com/runnel-cdc/runnel/schemas"
)

// The events of these tests, as `runnel schemas gen go` would write them.

var (
	placedV1 = schemas.MustEventType(`{"type":"record","name":"OrderPlaced","aggregate":"order","fields":[
		{"name":"n","type":"long"},{"name":"note","type":"string"}]}`)
	placedV2 = schemas.MustEventType(`{"type":"record","name":"OrderPlaced","aggregate":"order","fields":[
		{"name":"n","type":"long"},{"name":"note","type":"string"},{"name":"amount","type":"long","default":7}]}`)
	shipped = schemas.MustEventType(`{"type":"record","name":"OrderShipped","aggregate":"order","fields":[
		{"name":"n","type":"long"}]}`)
)

// OrderPlacedOld is the first version of OrderPlaced.
type OrderPlacedOld struct {
	N    int64
	Note string
}

func (OrderPlacedOld) EventType() *schemas.EventType { return placedV1 }

func (e OrderPlacedOld) AppendAvro(dst []byte) ([]byte, error) {
	return appendText(binary.AppendVarint(dst, e.N), e.Note), nil
}

func (e *OrderPlacedOld) DecodeAvro(data []byte) error {
	r := bytesReader{data: data}
	e.N, e.Note = r.long(), r.text()
	return r.end()
}

// OrderPlaced is the second version, with an amount.
type OrderPlaced struct {
	N      int64
	Note   string
	Amount int64
}

func (OrderPlaced) EventType() *schemas.EventType { return placedV2 }

func (e OrderPlaced) AppendAvro(dst []byte) ([]byte, error) {
	return binary.AppendVarint(appendText(binary.AppendVarint(dst, e.N), e.Note), e.Amount), nil
}

func (e *OrderPlaced) DecodeAvro(data []byte) error {
	r := bytesReader{data: data}
	e.N, e.Note, e.Amount = r.long(), r.text(), r.long()
	return r.end()
}

// OrderShipped has no handler in most tests.
type OrderShipped struct{ N int64 }

func (OrderShipped) EventType() *schemas.EventType { return shipped }

func (e OrderShipped) AppendAvro(dst []byte) ([]byte, error) {
	return binary.AppendVarint(dst, e.N), nil
}

func (e *OrderShipped) DecodeAvro(data []byte) error {
	r := bytesReader{data: data}
	e.N = r.long()
	return r.end()
}

// A long of Avro is a zigzag varint, which is what encoding/binary writes.
func appendText(dst []byte, s string) []byte {
	return append(binary.AppendVarint(dst, int64(len(s))), s...)
}

type bytesReader struct {
	data []byte
	bad  bool
}

func (r *bytesReader) long() int64 {
	v, n := binary.Varint(r.data)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *bytesReader) text() string {
	n := r.long()
	if n < 0 || n > int64(len(r.data)) {
		r.bad = true
		return ""
	}
	s := string(r.data[:n])
	r.data = r.data[n:]
	return s
}

func (r *bytesReader) end() error {
	if r.bad || len(r.data) > 0 {
		return errors.New("not the type's bytes")
	}
	return nil
}

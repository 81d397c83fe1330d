package outboxtest_test

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/runnel-cdc/runnel/schemas"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv("RUNNEL_POSTGRES_URL") == "" && os.Getenv("RUNNEL_TEST_SERVERS") != "required" {
		_ = flag.Set("test.skip", "^Example") // an Example can't skip itself
	}
	goleak.VerifyTestMain(m)
}

// Shipped stands for a type that `runnel schemas gen go` writes, Cancelled for
// another.
type (
	Shipped   struct{ Parcels int64 }
	Cancelled struct{ Parcels int64 }
)

func eventType(name string) *schemas.EventType {
	return schemas.MustEventType(fmt.Sprintf(`{"type":"record","name":%q,"aggregate":"order","fields":[{"name":"parcels","type":"long","default":1}]}`, name))
}

var shipped, cancelled = eventType("OrderShipped"), eventType("OrderCancelled")

func (Shipped) EventType() *schemas.EventType   { return shipped }
func (Cancelled) EventType() *schemas.EventType { return cancelled }

func (s Shipped) AppendAvro(dst []byte) ([]byte, error) {
	return binary.AppendVarint(dst, s.Parcels), nil
}

func (s Cancelled) AppendAvro(dst []byte) ([]byte, error) {
	return binary.AppendVarint(dst, s.Parcels), nil
}

func (s *Shipped) DecodeAvro(data []byte) error {
	v, n := binary.Varint(data)
	if n != len(data) {
		return errors.New("not a Shipped")
	}
	s.Parcels = v
	return nil
}

// unknown is an event whose type nobody generated.
type unknown struct{ of *schemas.EventType }

func (u unknown) EventType() *schemas.EventType       { return u.of }
func (unknown) AppendAvro(dst []byte) ([]byte, error) { return append(dst, 2), nil }

func newUnknown() unknown {
	t, err := schemas.ParseEventType(`{"type":"record","name":"OrderShipped","aggregate":"order","fields":[{"name":"n","type":"int"}]}`)
	if err != nil {
		panic(err)
	}
	return unknown{t}
}

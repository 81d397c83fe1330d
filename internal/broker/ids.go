package broker

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/apache/pulsar-client-go/pulsar"
)

// fromClientID converts an id of the client.
func fromClientID(id pulsar.MessageID) MessageID {
	return MessageID{Ledger: id.LedgerID(), Entry: id.EntryID(), Batch: id.BatchIdx(), BatchSize: id.BatchSize()}
}

// String returns ledger:entry, or ledger:entry:batch within a batch.
func (id MessageID) String() string {
	if id.Batch < 0 {
		return fmt.Sprintf("%d:%d", id.Ledger, id.Entry)
	}
	return fmt.Sprintf("%d:%d:%d", id.Ledger, id.Entry, id.Batch)
}

// ParseMessageID reads what String wrote. The size of the batch is not part
// of it.
func ParseMessageID(text string) (MessageID, error) {
	parts := strings.Split(text, ":")
	id := none()
	for i, part := range parts {
		bits := 64
		if i == 2 {
			bits = 32
		}
		n, err := strconv.ParseInt(part, 10, bits)
		if err != nil || n < 0 || len(parts) < 2 || len(parts) > 3 {
			return none(), fmt.Errorf("%.60q is not a message id", text)
		}
		switch i {
		case 0:
			id.Ledger = n
		case 1:
			id.Entry = n
		case 2:
			id.Batch = int32(n)
		}
	}
	return id, nil
}

// compareIDs orders ids by place.
func compareIDs(a, b MessageID) int {
	switch {
	case a.Ledger != b.Ledger:
		return order(a.Ledger < b.Ledger)
	case a.Entry != b.Entry:
		return order(a.Entry < b.Entry)
	case a.Batch != b.Batch:
		return order(a.Batch < b.Batch)
	}
	return 0
}

func order(less bool) int {
	if less {
		return -1
	}
	return 1
}

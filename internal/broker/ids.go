package broker

import (
	"fmt"

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

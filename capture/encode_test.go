package capture

import (
	"encoding/binary"

	"github.com/runnel-cdc/runnel/router"
)

// What a server sends, written here on its own, to be read back.

// outboxOrder and controlOrder are the columns in the order of the tables.
var (
	outboxOrder = []string{"seq", "id", "aggregate_type", "aggregate_id", "event_type", "aggregate_seq",
		"encoding", "fingerprint", "payload", "headers", "occurred_at", "xid", "inserted_at"}
	controlOrder = []string{"seq", "pipeline", "kind", "body", "inserted_at"}
)

func beginMessage(lsn uint64) []byte {
	m := binary.BigEndian.AppendUint64([]byte{'B'}, lsn)
	m = binary.BigEndian.AppendUint64(m, 1_000_000)
	return binary.BigEndian.AppendUint32(m, 77)
}

func commitMessage(lsn, end uint64) []byte {
	m := binary.BigEndian.AppendUint64([]byte{'C', 0}, lsn)
	m = binary.BigEndian.AppendUint64(m, end)
	return binary.BigEndian.AppendUint64(m, 1_000_000)
}

func relationMessage(id uint32, table string, order []string, columns map[string]column) []byte {
	m := binary.BigEndian.AppendUint32([]byte{'R'}, id)
	m = append(m, "runnel\x00"+table+"\x00d"...)
	m = binary.BigEndian.AppendUint16(m, uint16(len(order)))
	for _, name := range order {
		m = append(m, 0)
		m = append(m, name+"\x00"...)
		m = binary.BigEndian.AppendUint32(m, columns[name].oid)
		m = binary.BigEndian.AppendUint32(m, 0xffffffff)
	}
	return m
}

// insertMessage encodes cells; nil is NULL.
func insertMessage(id uint32, cells [][]byte) []byte {
	m := binary.BigEndian.AppendUint32([]byte{'I'}, id)
	m = append(m, 'N')
	m = binary.BigEndian.AppendUint16(m, uint16(len(cells)))
	for _, c := range cells {
		if c == nil {
			m = append(m, 'n')
			continue
		}
		m = binary.BigEndian.AppendUint32(append(m, 'b'), uint32(len(c)))
		m = append(m, c...)
	}
	return m
}

func int64Cell(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// rowCells are the cells of an outbox row that holds e; empty is NULL.
func rowCells(e *router.Event) [][]byte {
	var fingerprint, headers []byte
	if e.Fingerprint != ([32]byte{}) {
		fingerprint = e.Fingerprint[:]
	}
	if len(e.Headers) > 0 {
		headers = append([]byte{1}, e.Headers...)
	}
	return [][]byte{
		int64Cell(e.Seq), e.ID[:], null(e.AggregateType), null(e.AggregateID), null(e.Type), nil,
		binary.BigEndian.AppendUint16(nil, uint16(e.Encoding)), fingerprint, null(e.Payload), headers,
		int64Cell(e.OccurredAt - postgresEpoch), int64Cell(5), int64Cell(6),
	}
}

func null(v []byte) []byte {
	if len(v) == 0 {
		return nil
	}
	return v
}

func sampleRow(payload []byte) [][]byte {
	return rowCells(&router.Event{
		ID: [16]byte{1}, Seq: 42, AggregateType: []byte("order"), AggregateID: []byte("order-1234"),
		Type: []byte("OrderPlaced"), Encoding: router.Avro, Fingerprint: [32]byte{9}, Payload: payload,
		Headers: []byte(`{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}`), OccurredAt: 1_700_000_000_000_000,
	})
}

package capture

import (
	"bytes"
	"encoding/binary"

	"github.com/runnel-cdc/runnel/internal/deadletter"
	"github.com/runnel-cdc/runnel/internal/failpoint"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/router"
)

// relation is what the stream said of a table.
type relation struct {
	id     uint32
	kind   relationKind
	name   string
	fields []field
}

type relationKind uint8

const (
	relationOther relationKind = iota // not ours: may be announced, but holds no rows
	relationOutbox
	relationControl
)

// decoder turns pgoutput messages (protocol version 1, binary) into inputs.
//
// Invariants:
//  1. Inputs come as (Begin (Row | ControlRecord)* Commit | WALEnd)*.
//  2. A row's index counts the outbox rows and this pipeline's control records of its
//     transaction from 0. Control records of other pipelines are not counted.
//  3. No input is added by a message that is refused.
//  4. A row of another table is refused: it may be the outbox's, under the name
//     of its partition, and to skip it would confirm it.
type decoder struct {
	eras      lineage
	pipeline  string
	inTx      bool
	lsn       uint64 // of the open transaction
	epoch     uint32 // of the open transaction
	index     uint32 // of its next row
	committed int64  // when, in Postgres's microseconds
	rel       *relation
	rels      map[uint32]*relation
	audit     *audit // nil once it is done
	limit     uint64 // what may be confirmed to the server
	beyond    uint64 // the first commit with rows that is not below limit, if it is not either
	last      uint64 // the last commit with rows
}

func newDecoder(eras lineage, pipeline string) *decoder {
	return &decoder{eras: eras, pipeline: pipeline, rels: make(map[uint32]*relation)}
}

// decode adds what one message means to b: at most one input.
func (d *decoder) decode(m []byte, b *batcher) error {
	if len(m) == 0 {
		return ErrStream.New("an empty message")
	}
	switch m[0] {
	case 'I':
		return d.insert(m, b)
	case 'B':
		return d.begin(m, b)
	case 'C':
		return d.commit(m, b)
	case 'R':
		return d.relation(m)
	case 'O', 'Y', 'M': // origin, type, logical message
		return nil
	case 'U', 'D', 'T':
		return ErrPublication.New("the stream holds an update, a delete or a truncate").
			Fix("As the owner of the publication:\n  ALTER PUBLICATION runnel SET (publish = 'insert');")
	}
	return ErrStream.New("a message of the unknown kind %q", m[0])
}

func (d *decoder) begin(m []byte, b *batcher) error {
	if len(m) != 1+8+8+4 || d.inTx {
		return d.malformed("Begin")
	}
	d.inTx, d.index = true, 0
	d.lsn = binary.BigEndian.Uint64(m[1:])
	d.epoch = d.eras.at(d.lsn)
	d.committed = int64(binary.BigEndian.Uint64(m[9:]))
	in := b.next()
	in.Kind = router.Begin
	in.Transaction = router.Transaction{
		Position:  position.Position{Epoch: d.epoch, LSN: d.lsn},
		XID:       binary.BigEndian.Uint32(m[17:]),
		Committed: unixMicro(d.committed),
	}
	return nil
}

func (d *decoder) commit(m []byte, b *batcher) error {
	if len(m) != 1+1+8+8+8 || !d.inTx || binary.BigEndian.Uint64(m[2:]) != d.lsn {
		return d.malformed("Commit")
	}
	d.inTx = false
	if d.index > 0 {
		d.last = d.lsn
		if d.beyond < d.limit {
			d.beyond = d.lsn
		}
	}
	in := b.next()
	in.Kind = router.Commit
	in.LSN = binary.BigEndian.Uint64(m[10:])
	d.audit = d.audit.passed(d.lsn)
	return nil
}

// walEnd notes that the server has sent everything up to lsn. Within a
// transaction that says nothing about what may be confirmed.
func (d *decoder) walEnd(lsn uint64, b *batcher) {
	if d.inTx {
		return
	}
	in := b.last()
	if in == nil || in.Kind != router.WALEnd {
		in = b.next()
		in.Kind = router.WALEnd
	}
	in.LSN = max(in.LSN, lsn)
	in.Epoch = d.eras.at(in.LSN)
	d.audit = d.audit.passed(lsn)
}

func (d *decoder) insert(m []byte, b *batcher) error {
	if len(m) < 1+4+1+2 || m[5] != 'N' || !d.inTx {
		return d.malformed("Insert")
	}
	if id := binary.BigEndian.Uint32(m[1:]); d.rel == nil || d.rel.id != id {
		if d.rel = d.rels[id]; d.rel == nil {
			return d.malformed("Insert into an unannounced relation")
		}
	}
	switch d.rel.kind {
	case relationOther:
		return d.stranger()
	case relationControl:
		return d.control(m[6:], b)
	}
	in := b.next()
	in.Kind = router.Row
	if err := d.tuple(m[6:], &in.Event); err != nil {
		*in = router.Input{}
		b.drop()
		return err
	}
	in.Event.Position = position.Position{Epoch: d.epoch, LSN: d.lsn, Index: d.index}
	d.index++
	b.bytes += len(m)
	failpoint.Hit("capture.row") // mid-transaction
	if d.audit != nil {
		d.audit.seen.add(in.Event.Seq)
	}
	return nil
}

// stranger refuses a row of a table that is not ours.
func (d *decoder) stranger() error {
	return ErrPublication.New("the stream holds a row of %.200s", d.rel.name).
		At("%s", position.Position{Epoch: d.epoch, LSN: d.lsn, Index: d.index}).
		Fix("As the owner of the publication:\n" +
			"  ALTER PUBLICATION runnel SET (publish = 'insert', publish_via_partition_root = true);\n" +
			"  ALTER PUBLICATION runnel SET TABLE runnel.outbox, runnel.control;\n" +
			"Rows written before that stay in the stream as they are. Those of the outbox are still in its table, " +
			"which is what a repair publishes from.")
}

// tuple reads an outbox row into e.
func (d *decoder) tuple(t []byte, e *router.Event) error {
	fields := d.rel.fields
	if int(binary.BigEndian.Uint16(t)) != len(fields) {
		return d.malformed("Insert with another number of columns")
	}
	t = t[2:]
	for _, f := range fields {
		value, rest, null, ok := cell(t)
		if !ok {
			return d.malformed("Insert")
		}
		t = rest
		if null {
			continue
		}
		if err := setField(e, f, value); err != nil {
			return err
		}
	}
	if len(t) != 0 {
		return d.malformed("Insert with trailing bytes")
	}
	return nil
}

// control reads a row of runnel.control. One for this pipeline of a kind that is not
// known halts it; those of others are none of its business.
func (d *decoder) control(t []byte, b *batcher) error {
	fields := d.rel.fields
	if int(binary.BigEndian.Uint16(t)) != len(fields) {
		return d.malformed("Insert with another number of columns")
	}
	var pipeline, kind, body []byte
	t = t[2:]
	for _, f := range fields {
		value, rest, _, ok := cell(t)
		if !ok {
			return d.malformed("Insert")
		}
		t = rest
		switch f {
		case fieldControlPipeline:
			pipeline = value
		case fieldControlKind:
			kind = value
		case fieldControlBody:
			body = value
		}
	}
	if len(t) != 0 {
		return d.malformed("Insert with trailing bytes")
	}
	if string(pipeline) != d.pipeline {
		return nil
	}
	at := position.Position{Epoch: d.epoch, LSN: d.lsn, Index: d.index}
	if string(kind) != deadletter.ControlRelease {
		return ErrControlUnknown.New("a control record of kind %.80q", kind).At("%s", at)
	}
	if len(body) < 1 || body[0] != 1 { // jsonb's own version, then its text
		return d.malformed("Insert of a control record")
	}
	in := b.next()
	in.Kind = router.ControlRecord
	in.Control = &router.Control{Position: at, Kind: string(kind), Body: bytes.Clone(body[1:])}
	d.index++
	b.bytes += len(t)
	return nil
}

// cell reads one column. Only the binary format is accepted: every type of our
// tables has one, and it was asked for.
func cell(t []byte) (value, rest []byte, null, ok bool) {
	if len(t) == 0 {
		return nil, nil, false, false
	}
	if t[0] == 'n' {
		return nil, t[1:], true, true
	}
	if t[0] != 'b' || len(t) < 5 {
		return nil, nil, false, false
	}
	n := uint64(binary.BigEndian.Uint32(t[1:]))
	if n > uint64(len(t)-5) {
		return nil, nil, false, false
	}
	return t[5 : 5+n : 5+n], t[5+n:], false, true
}

// relation learns a table's columns. It comes before the table's first row on
// a connection, and again after each change.
func (d *decoder) relation(m []byte) error {
	if len(m) < 5 {
		return d.malformed("Relation")
	}
	id := binary.BigEndian.Uint32(m[1:])
	schema, m, ok1 := cstring(m[5:])
	name, m, ok2 := cstring(m)
	if !ok1 || !ok2 || len(m) < 3 {
		return d.malformed("Relation")
	}
	n := int(binary.BigEndian.Uint16(m[1:])) // after the replica identity
	m = m[3:]
	var columns []namedColumn
	for range n {
		var column string
		if len(m) < 1 {
			return d.malformed("Relation")
		}
		var ok bool
		if column, m, ok = cstring(m[1:]); !ok || len(m) < 8 { // after the flags
			return d.malformed("Relation")
		}
		columns = append(columns, namedColumn{column, binary.BigEndian.Uint32(m)})
		m = m[8:] // type and its modifier
	}
	if len(m) != 0 {
		return d.malformed("Relation")
	}
	rel := &relation{id: id, name: schema + "." + name}
	var err error
	switch rel.name {
	case "runnel.outbox":
		rel.kind = relationOutbox
		rel.fields, err = plan(rel.name, outboxColumns, columns)
	case "runnel.control":
		rel.kind = relationControl
		rel.fields, err = plan(rel.name, controlColumns, columns)
	}
	if err != nil {
		return err
	}
	d.rels[id], d.rel = rel, nil
	return nil
}

func cstring(m []byte) (text string, rest []byte, ok bool) {
	i := bytes.IndexByte(m, 0)
	if i < 0 {
		return "", nil, false
	}
	return string(m[:i]), m[i+1:], true
}

func (d *decoder) malformed(what string) error {
	e := ErrStream.New("malformed: %s", what)
	if d.inTx {
		return e.At("%s", position.Position{Epoch: d.epoch, LSN: d.lsn, Index: d.index})
	}
	return e
}

package torture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// readCommits reads the independent slot by SQL, and leaves it as it is. The
// parser is not the product's: one mistake must not hide in both.
func readCommits(ctx context.Context, address string) ([]Commit, error) {
	db, err := pgx.Connect(ctx, address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	rows, err := db.Query(ctx, `select data from pg_logical_slot_peek_binary_changes($1::text::name, null, null, 'proto_version', '1', 'publication_names', $1::text)`, truthSlot)
	if err != nil {
		return nil, err
	}
	var p commitParser
	var message []byte
	_, err = pgx.ForEachRow(rows, []any{&message}, func() error { return p.message(message) })
	if err == nil && p.open {
		err = errors.New("the slot ends within a transaction")
	}
	return p.all, err
}

// commitParser reads messages of pgoutput, version 1, with values as text.
type commitParser struct {
	all     []Commit
	open    bool
	columns map[string][2]int // indexes of id and seq, by the table's id; -1: of runnel.control
}

var errCut = errors.New("a message of pgoutput is cut off")

func (p *commitParser) message(m []byte) error {
	if len(m) == 0 {
		return errCut
	}
	body := m[1:]
	switch m[0] {
	case 'B':
		if len(body) != 20 || p.open {
			return errCut
		}
		p.open = true
		p.all = append(p.all, Commit{LSN: binary.BigEndian.Uint64(body), XID: binary.BigEndian.Uint32(body[16:])})
	case 'C':
		if !p.open {
			return errCut
		}
		p.open = false
		if last := len(p.all) - 1; len(p.all[last].Events) == 0 {
			p.all = p.all[:last] // nothing of the outbox
		}
	case 'R':
		return p.relation(body)
	case 'I':
		return p.insert(body)
	case 'Y', 'O': // types, origins
	default:
		return fmt.Errorf("a message %q of pgoutput", m[0])
	}
	return nil
}

// relation finds the columns: id, schema, name, identity, then each column's
// flags, name, type and modifier.
func (p *commitParser) relation(m []byte) error {
	if len(m) < 4 {
		return errCut
	}
	table := string(m[:4])
	m = m[4:]
	var name string
	for range 2 { // schema, then name
		text, rest, ok := bytes.Cut(m, []byte{0})
		if !ok {
			return errCut
		}
		name, m = string(text), rest
	}
	if p.columns == nil {
		p.columns = make(map[string][2]int)
	}
	if len(m) < 3 {
		return errCut
	}
	count := int(binary.BigEndian.Uint16(m[1:]))
	m = m[3:]
	id, seq := -1, -1
	for i := range count {
		if len(m) < 1 {
			return errCut
		}
		name, rest, ok := bytes.Cut(m[1:], []byte{0})
		if !ok || len(rest) < 8 {
			return errCut
		}
		switch string(name) {
		case "id":
			id = i
		case "seq":
			seq = i
		}
		m = rest[8:]
	}
	if name == "control" {
		id, seq = -1, -1
	} else if id < 0 || seq < 0 {
		return errors.New("the outbox has no columns id and seq")
	}
	p.columns[table] = [2]int{id, seq}
	return nil
}

func (p *commitParser) insert(m []byte) (err error) {
	if len(m) < 7 || m[4] != 'N' || !p.open {
		return errCut
	}
	columns, ok := p.columns[string(m[:4])]
	if !ok {
		return errCut
	}
	count := int(binary.BigEndian.Uint16(m[5:]))
	m = m[7:]
	var e CommitEvent
	for i := range count {
		if len(m) < 1 {
			return errCut
		}
		if m[0] == 'n' {
			m = m[1:]
			continue
		}
		if m[0] != 't' || len(m) < 5 {
			return errCut
		}
		n := uint64(binary.BigEndian.Uint32(m[1:]))
		if n > uint64(len(m)-5) {
			return errCut
		}
		text := string(m[5 : 5+n])
		m = m[5+n:]
		switch i {
		case columns[0]:
			e.ID = text
		case columns[1]:
			if e.Seq, err = strconv.ParseInt(text, 10, 64); err != nil {
				return err
			}
		}
	}
	last := &p.all[len(p.all)-1]
	last.Events = append(last.Events, e)
	return nil
}

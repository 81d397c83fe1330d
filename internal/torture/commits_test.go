package torture

import (
	"encoding/binary"
	"reflect"
	"testing"
)

func relationMessage() []byte {
	m := append([]byte("R\x00\x00\x00\x01runnel\x00outbox\x00d"), 0, 3)
	for _, name := range []string{"seq", "id", "payload"} {
		m = append(m, 0)
		m = append(append(m, name...), 0)
		m = append(m, make([]byte, 8)...)
	}
	return m
}

func controlMessage() []byte {
	m := append([]byte("R\x00\x00\x00\x02runnel\x00control\x00d"), 0, 1, 0)
	return append(append(m, "seq\x00"...), make([]byte, 8)...)
}

func insertMessage(values ...string) []byte {
	m := append([]byte("I\x00\x00\x00\x01N"), 0, byte(len(values)))
	for _, v := range values {
		if v == "" {
			m = append(m, 'n')
			continue
		}
		m = binary.BigEndian.AppendUint32(append(m, 't'), uint32(len(v)))
		m = append(m, v...)
	}
	return m
}

func beginMessage(lsn uint64) []byte {
	return append(binary.BigEndian.AppendUint64([]byte("B"), lsn), make([]byte, 12)...)
}

func TestCommitParser(t *testing.T) {
	var p commitParser
	for _, m := range [][]byte{
		beginMessage(7), []byte("C"), // nothing of the outbox
		beginMessage(8), relationMessage(), insertMessage("41", "a", "x"), insertMessage("40", "b", ""), []byte("C"),
		beginMessage(9), controlMessage(), append([]byte("I\x00\x00\x00\x02N"), insertMessage("7")[6:]...), insertMessage("42", "c", "y"), []byte("C"),
	} {
		if err := p.message(m); err != nil {
			t.Fatalf("%q: %v", m, err)
		}
	}
	want := []Commit{{LSN: 8, Events: []CommitEvent{{"a", 41}, {"b", 40}}}, {LSN: 9, Events: []CommitEvent{{}, {"c", 42}}}}
	if !reflect.DeepEqual(p.all, want) || p.open {
		t.Errorf("%+v, want %+v", p.all, want)
	}
}

func FuzzCommitParser(f *testing.F) {
	f.Add(relationMessage(), insertMessage("41", "a", "x"))
	f.Add([]byte("R"), []byte("I"))
	f.Add(beginMessage(1), []byte("C"))
	f.Fuzz(func(_ *testing.T, relation, insert []byte) {
		p := commitParser{}
		_ = p.message(beginMessage(1))
		_ = p.message(relation) // any error, no panic
		_ = p.message(insert)
	})
}

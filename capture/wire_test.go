package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"pgregory.net/rapid"
)

// pieces is a connection that delivers given bytes in given pieces.
type pieces struct {
	net.Conn
	data  []byte
	sizes func() int
	wrote bytes.Buffer
}

func (p *pieces) SetReadDeadline(time.Time) error  { return nil }
func (p *pieces) SetWriteDeadline(time.Time) error { return nil }
func (p *pieces) Write(b []byte) (int, error)      { return p.wrote.Write(b) }
func (p *pieces) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.sizes())], p.data)
	p.data = p.data[n:]
	return n, nil
}

func frame(kind byte, body []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4)), body...)
}

// TestFraming: messages come whole, whatever pieces they arrive in, and stay
// as they were when later ones are read for as long as their chunk is held.
func TestFraming(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []byte
		var want [][]byte
		for i := range rapid.IntRange(1, 30).Draw(t, "messages") {
			size := rapid.OneOf(rapid.IntRange(0, 50), rapid.IntRange(chunkSize-100, chunkSize+100),
				rapid.IntRange(1000, 20000)).Draw(t, "size")
			body := bytes.Repeat([]byte{byte(i)}, size)
			want = append(want, body)
			all = append(all, frame('d', body)...)
		}
		w := newWire(&pieces{data: all, sizes: func() int { return rapid.IntRange(1, 70000).Draw(t, "piece") }})
		var got [][]byte
		var kept []*lease[byte] // by message, nil: read and let go
		for len(got) < len(want) {
			kind, body, ok, err := w.next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				if err := w.fill(time.Time{}); err != nil {
					t.Fatal(err)
				}
				if len(w.buf) > chunkSize+105 {
					t.Fatalf("a chunk of %d", len(w.buf))
				}
				continue
			}
			if kind != 'd' {
				t.Fatalf("kind %q", kind)
			}
			if !bytes.Equal(body, want[len(got)]) {
				t.Fatalf("message %d differs", len(got))
			}
			got, kept = append(got, body), append(kept, nil)
			if rapid.Bool().Draw(t, "keep") {
				w.chunk.hold()
				kept[len(kept)-1] = w.chunk
			}
			if i := rapid.IntRange(0, len(kept)-1).Draw(t, "let go"); kept[i] != nil {
				kept[i].release()
				kept[i] = nil
			}
		}
		for i := range want {
			if kept[i] != nil && !bytes.Equal(got[i], want[i]) {
				t.Fatalf("message %d differs in the end", i)
			}
		}
		if err := w.fill(time.Time{}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("got %v at the end", err)
		}
	})
}

func TestFramingRefuses(t *testing.T) {
	for _, head := range []string{"d\x00\x00\x00\x03", "d\xff\xff\xff\xff", "HTTP/1.1"} {
		w := newWire(&pieces{data: []byte(head), sizes: func() int { return 100 }})
		if err := w.fill(time.Time{}); err != nil {
			t.Fatal(err)
		}
		_, _, _, err := w.next()
		mustCode(t, err, ErrStream)
	}
}

// TestStatusMessage: all three positions are set.
func TestStatusMessage(t *testing.T) {
	conn := &pieces{}
	w := newWire(conn)
	now := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	if err := w.status(0x1122334455, now, true); err != nil {
		t.Fatal(err)
	}
	want := binary.BigEndian.AppendUint64([]byte{'r'}, 0x1122334455)
	want = binary.BigEndian.AppendUint64(want, 0x1122334455)
	want = binary.BigEndian.AppendUint64(want, 0x1122334455)
	want = binary.BigEndian.AppendUint64(want, uint64(now.UnixMicro()-postgresEpoch))
	if got := conn.wrote.Bytes(); !bytes.Equal(got, frame('d', append(want, 1))) {
		t.Fatalf("got %x", got)
	}
}

func TestRecordStart(t *testing.T) {
	for lsn, want := range map[uint64]uint64{
		0x2000018: 0x2000000 /* after a page header */, 0x2000028: 0x2000000, /* after a segment's */
		0x2000020: 0x2000020, 0x2000000: 0x2000000,
	} {
		if got := recordStart(lsn); got != want {
			t.Fatalf("%s: got %s", pglogrepl.LSN(lsn), pglogrepl.LSN(got))
		}
	}
}

package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

const (
	chunkSize  = 256 << 10 // of receive memory; about 600 small rows
	minRead    = 8 << 10   // the server sends in pieces of 8 KiB
	writeLimit = 10 * time.Second
	// maxMessage is above what Postgres can send: its strings end at 1 GiB.
	maxMessage = 1<<30 + 1<<16
)

// wire frames the messages of a replication connection.
//
// Invariants:
//  1. It belongs to one goroutine, which both reads and writes: a write while
//     another reads with a deadline would corrupt the connection.
//  2. Memory handed out by next is not written again while anybody holds its
//     chunk. That is what lets an event alias the receive buffer without being
//     copied.
//  3. A message lies in one chunk. One larger than chunkSize gets a chunk of
//     exactly its size, which is given up before the next read.
type wire struct {
	conn  net.Conn
	chunk *lease[byte] // buf; nil at first
	buf   []byte
	r, w  int // unread bytes are buf[r:w]
	out   [64]byte
}

func newWire(conn net.Conn) *wire { return &wire{conn: conn} }

// next returns the next message that has arrived whole: its type and body.
func (w *wire) next() (kind byte, body []byte, ok bool, err error) {
	total, err := w.pending()
	if err != nil || total == 0 || w.w-w.r < total {
		return 0, nil, false, err
	}
	m := w.buf[w.r : w.r+total : w.r+total]
	w.r += total
	return m[0], m[5:], true, nil
}

// pending returns the size of the message at r with its header, 0 while the
// header is incomplete.
func (w *wire) pending() (int, error) {
	if w.w-w.r < 5 {
		return 0, nil
	}
	n := int64(binary.BigEndian.Uint32(w.buf[w.r+1:]))
	if n < 4 || n > maxMessage {
		return 0, ErrStream.New("a message of %d bytes", n)
	}
	return int(n) + 1, nil
}

// fill reads once, at most until deadline. It is called when next has nothing.
func (w *wire) fill(deadline time.Time) error {
	if err := w.makeRoom(); err != nil {
		return err
	}
	if err := w.conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	return w.read()
}

// read reads once under the deadline in force.
func (w *wire) read() error {
	n, err := w.conn.Read(w.buf[w.w:])
	w.w += n
	if n > 0 {
		return nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// makeRoom begins a new chunk when the message at r does not fit the old one.
func (w *wire) makeRoom() error {
	total, err := w.pending()
	if err != nil {
		return err
	}
	if total > 0 && w.r+total <= len(w.buf) {
		return nil
	}
	if total == 0 && len(w.buf)-w.w >= minRead {
		return nil
	}
	old := w.chunk
	switch {
	case total > chunkSize:
		w.chunk = &lease[byte]{memory: make([]byte, total)}
		w.chunk.hold()
	case old == nil || old.pool == nil || !old.alone():
		w.chunk = chunks.get()
	} // else nobody else refers to it
	w.w = copy(w.chunk.memory, w.buf[w.r:w.w])
	w.buf, w.r = w.chunk.memory, 0
	if old != nil && old != w.chunk {
		old.release()
	}
	return nil
}

// write sends bytes within writeLimit.
func (w *wire) write(b []byte) error {
	if err := w.conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return err
	}
	if _, err := w.conn.Write(b); err != nil {
		return fmt.Errorf("write to the server: %w", err)
	}
	return nil
}

// message sends a message of the frontend's.
func (w *wire) message(kind byte, body string) error {
	b := append(w.out[:0], kind, 0, 0, 0, 0)
	b = append(b, body...)
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-1))
	return w.write(b)
}

// status tells the server what is confirmed. All three positions are set: one
// of zero would mean something else in each.
func (w *wire) status(lsn uint64, now time.Time, wantReply bool) error {
	b := append(w.out[:0], 'd', 0, 0, 0, 38, 'r')
	for range 3 { // written, flushed, applied
		b = binary.BigEndian.AppendUint64(b, lsn)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(now.UnixMicro()-postgresEpoch))
	if wantReply {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	return w.write(b)
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

package devstack

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"testing"
	"time"
)

func itoa(port uint16) string { return strconv.Itoa(int(port)) }

// strangerGetsIn opens a ZooKeeper session without a password, asks for the
// children of /, and reports whether it is answered.
func strangerGetsIn(t *testing.T, port int) bool {
	t.Helper()
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	connect := binary.BigEndian.AppendUint32(nil, 0)        // protocol version
	connect = binary.BigEndian.AppendUint64(connect, 0)     // last zxid seen
	connect = binary.BigEndian.AppendUint32(connect, 30000) // timeout, ms
	connect = binary.BigEndian.AppendUint64(connect, 0)     // no session yet
	connect = binary.BigEndian.AppendUint32(connect, 16)    // length of its password
	connect = append(connect, make([]byte, 17)...)          // password, and not read-only
	if _, ok := exchange(conn, connect); !ok {
		return false
	}
	list := binary.BigEndian.AppendUint32(nil, 1) // xid
	list = binary.BigEndian.AppendUint32(list, 8) // getChildren
	list = binary.BigEndian.AppendUint32(list, 1) // length of the path
	list = append(list, '/', 0)                   // path, no watch
	answer, ok := exchange(conn, list)
	return ok && len(answer) >= 16 && binary.BigEndian.Uint32(answer[12:16]) == 0 // error code
}

func exchange(conn net.Conn, request []byte) (answer []byte, ok bool) {
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(request)))
	if _, err := conn.Write(append(frame, request...)); err != nil {
		return nil, false
	}
	var length [4]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, false
	}
	answer = make([]byte, min(binary.BigEndian.Uint32(length[:]), 1<<20))
	_, err := io.ReadFull(conn, answer)
	return answer, err == nil
}

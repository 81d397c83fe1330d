package brokertest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Raw is a message as no client would send it.
type Raw struct {
	Properties       map[string]string
	Compression      uint64 // 1: LZ4, 2: ZLIB, 3: ZSTD, 4: SNAPPY
	UncompressedSize uint64 // what it declares to be when it was decompressed
	Payload          []byte
}

// Types of commands, and their fields (PulsarApi.proto, message BaseCommand).
const (
	connect, connected       = 2, 3
	produce, produceSucceded = 5, 17
	send, sendReceipt        = 6, 7
)

// SendRaw publishes a message to a topic, or a partition by its full name, with
// nothing but the binary protocol.
func SendRaw(t testing.TB, topic string, m Raw) {
	t.Helper()
	address, err := url.Parse(Config(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	load(t, topic)
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", address.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	exchange := func(command uint64, body, rest []byte, want uint64) {
		t.Helper()
		if err := writeCommand(conn, command, body, rest); err != nil {
			t.Fatal(err)
		}
		if answer, text, err := readCommand(conn); err != nil || answer != want {
			t.Fatalf("answered by command %d, want %d: %q %v", answer, want, text, err)
		}
	}
	exchange(connect, field(field(nil, 1, "brokertest"), 4, 19), nil, connected)
	exchange(produce, field(field(field(nil, 1, topic), 2, 1), 3, 1), nil, produceSucceded)
	exchange(send, field(field(nil, 1, 1), 2, 0), m.frame(), sendReceipt)
}

// load makes the broker serve a topic, by asking where it is.
func load(t testing.TB, topic string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
		Config(t).AdminURL+"/lookup/v2/topic/"+strings.Replace(topic, "://", "/", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("look up %s: %s", topic, response.Status)
	}
}

// frame is what follows the command: checksum, metadata and payload.
func (m *Raw) frame() []byte {
	metadata := field(field(field(nil, 1, "raw"), 2, 0), 3, uint64(time.Now().UnixMilli()))
	for key, value := range m.Properties {
		metadata = field(metadata, 4, string(field(field(nil, 1, key), 2, value)))
	}
	metadata = field(field(metadata, 8, m.Compression), 9, m.UncompressedSize)
	summed := binary.BigEndian.AppendUint32(nil, uint32(len(metadata)))
	summed = append(append(summed, metadata...), m.Payload...)
	sum := crc32.Checksum(summed, crc32.MakeTable(crc32.Castagnoli))
	return append(binary.BigEndian.AppendUint32([]byte{0x0e, 0x01}, sum), summed...)
}

// field appends a field of a protobuf message.
func field[T string | uint64 | int](dst []byte, number protowire.Number, value T) []byte {
	switch v := any(value).(type) {
	case string:
		return protowire.AppendString(protowire.AppendTag(dst, number, protowire.BytesType), v)
	case uint64:
		return protowire.AppendVarint(protowire.AppendTag(dst, number, protowire.VarintType), v)
	default:
		return protowire.AppendVarint(protowire.AppendTag(dst, number, protowire.VarintType), uint64(v.(int)))
	}
}

func writeCommand(w io.Writer, kind uint64, body, rest []byte) error {
	command := field(field(nil, 1, kind), protowire.Number(kind), string(body))
	frame := binary.BigEndian.AppendUint32(nil, uint32(4+len(command)+len(rest)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(command)))
	_, err := w.Write(append(append(frame, command...), rest...))
	return err
}

// readCommand returns the type of the next command, and its bytes.
func readCommand(r io.Reader) (kind uint64, command []byte, err error) {
	var sizes [8]byte
	if _, err := io.ReadFull(r, sizes[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(sizes[4:])
	if size > 1<<20 || size+4 != binary.BigEndian.Uint32(sizes[:]) {
		return 0, nil, fmt.Errorf("a command of %d bytes in a frame of %d", size, binary.BigEndian.Uint32(sizes[:]))
	}
	command = make([]byte, size)
	if _, err := io.ReadFull(r, command); err != nil {
		return 0, nil, err
	}
	tag, n := protowire.ConsumeVarint(command)
	if n < 0 || tag != uint64(protowire.EncodeTag(1, protowire.VarintType)) {
		return 0, nil, fmt.Errorf("not a command: %x", bytes.TrimSpace(command))
	}
	kind, n = protowire.ConsumeVarint(command[n:])
	return kind, command, protowire.ParseError(min(n, 0))
}

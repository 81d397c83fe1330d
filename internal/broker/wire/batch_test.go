package wire

import (
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/internal/properties"
)

// Batches of whatever messages are read as they were written, and are no larger
// than they say. What they were read from may be used again at once.
func TestBatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := strings.Repeat("n", rapid.IntRange(1, 300).Draw(t, "name"))
		text := rapid.StringN(0, 40, 400)
		b := NewBatch(name, rapid.SampledFrom([][]byte{nil, []byte("version0")}).Draw(t, "version"))
		first := rapid.Uint64Range(0, 1<<62).Draw(t, "first")
		var want []storedMessage
		for i := range rapid.Uint64Range(1, 20).Draw(t, "messages") {
			m := Message{
				Key: text.Draw(t, "key"), Payload: []byte(text.Draw(t, "payload")), EventTime: rapid.Int64().Draw(t, "time"),
				Properties: properties.FromMap(rapid.MapOfN(text, text, 0, 5).Draw(t, "properties")),
			}
			want = append(want, storedMessage{m.Properties.Map(), m.Key, string(m.Payload), uint64(m.EventTime), first + i})
			before, key := b.Size(), []byte(m.Key)
			m.Key = unsafe.String(unsafe.SliceData(key), len(key))
			if rapid.Bool().Draw(t, "size known") {
				m.Size = m.MessageSize(1 << 62)
			}
			b.Add(first+i, &m)
			clear(key)
			if size := m.MessageSize(first + i); i > 0 && b.Size() != before+size {
				t.Fatalf("a message of %d bytes adds %d", size, b.Size()-before)
			}
		}
		size, target := b.Size(), rapid.IntRange(0, 5000).Draw(t, "padded to")
		if b.Pad(target); rapid.Bool().Draw(t, "compressed") {
			b.Compress()
		}
		sealed := b.SealedSize()
		if sealed < target || sealed > max(target+12, size) {
			t.Fatalf("a batch of %d bytes that was padded to %d has %d", size, target, sealed)
		}
		frame := b.seal(rapid.Uint64().Draw(t, "producer"), time.Now())
		if n := binary.BigEndian.Uint32(frame); int(n) != len(frame)-4 {
			t.Fatalf("a frame of %d bytes says %d", len(frame), n)
		}
		kind, body, err := parseFrame(frame[4:])
		if err != nil || kind != cmdSend {
			t.Fatalf("%d, %v", kind, err)
		}
		got, err := parseSend(body, frame[8+binary.BigEndian.Uint32(frame[4:]):])
		key, _ := got.meta[6].(string)
		if err != nil || !reflect.DeepEqual(got.messages, want) || got.meta[1] != name || key != want[0].key {
			t.Fatalf("%v: %+v, want %+v", err, got, want)
		}
		if got.size != sealed && (!b.compress || got.size > sealed) {
			t.Fatalf("a batch of %d bytes says %d", got.size, sealed)
		}
		b.Free()
	})
}

// A batch takes the smallest buffer that will do, and one that is huge is not kept.
func TestBufferSizes(t *testing.T) {
	for i, size := range sizes {
		room := 8
		if i > 0 {
			room = sizes[i-1]
		}
		for _, n := range []int{room + 1, size} {
			if b := takeBuffer(n); cap(b.bytes) < n || cap(b.bytes) != size {
				t.Errorf("%d bytes in a buffer of %d", n, cap(b.bytes))
			}
		}
	}
	huge := takeBuffer(4 << 20)
	huge.put()
	if b := takeBuffer(sizes[len(sizes)-1]); len(b.bytes) != 0 || cap(b.bytes) > 2*sizes[len(sizes)-1] {
		t.Errorf("a buffer of %d bytes was kept", cap(b.bytes))
	}
}

// The headers have room for the largest of numbers.
func TestHeaderRoom(t *testing.T) {
	b := NewBatch("n", []byte("version0"))
	b.Add(1<<63, &Message{Key: "k"})
	b.count = 1 << 30
	frame := b.seal(1<<64-1, time.UnixMilli(1<<62))
	if size := binary.BigEndian.Uint32(frame); int(size) != len(frame)-4 {
		t.Fatalf("a frame of %d bytes says %d", len(frame), size)
	}
}

// A batch in use again costs no allocation.
func TestBatchAllocatesNothing(t *testing.T) {
	m := &Message{Key: "key", Payload: make([]byte, 250), EventTime: time.Now().UnixMilli(), Properties: properties.List{{Name: "position", Value: "p"}, {Name: "id", Value: "i"}, {Name: "type", Value: "t"}}}
	version := []byte("version0")
	now := time.Now()
	run := func() {
		b := NewBatch("me", version)
		for i := range uint64(100) {
			b.Add(i, m)
		}
		b.seal(1, now)
		b.Free()
	}
	run()
	if n := testing.AllocsPerRun(1000, run); n > 10 { // the pool forgets some with the race detector
		t.Errorf("%v allocations for 100 messages", n)
	}
}

func BenchmarkBatch(b *testing.B) {
	m := &Message{Key: "key", Payload: make([]byte, 250), EventTime: time.Now().UnixMilli(), Properties: properties.List{{Name: "position", Value: "000000010000000000000000000000000001"}, {Name: "id", Value: "01890a5d-ac96-774b-bcce-b302099a8057"}, {Name: "type", Value: "OrderPlaced"}}}
	batch := NewBatch("me", nil)
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		batch.Add(1, m)
		if batch.Size() > 128<<10 {
			batch.seal(1, now)
			batch.Free()
			batch = NewBatch("me", nil)
		}
	}
}

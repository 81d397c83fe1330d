package schemas

import (
	"testing"
)

// flat is an event of 10 fields and about 250 bytes, the size the limits are
// stated for.
const flat = `{"type":"record","name":"ItemReserved","namespace":"shop","aggregate":"item","fields":[
 {"name":"id","type":{"type":"string","logicalType":"uuid"}},
 {"name":"sku","type":"string"},
 {"name":"quantity","type":"int"},
 {"name":"warehouse","type":"string"},
 {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}},
 {"name":"note","type":["null","string"],"default":null},
 {"name":"state","type":{"type":"enum","name":"State","symbols":["OPEN","HELD","GONE"]}},
 {"name":"urgent","type":"boolean"},
 {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},
 {"name":"customer","type":"long"}]}`

// The members are in the order in which jsonb returns them.
const flatJSON = `{"at":"2024-05-06T07:08:09.123456+00:00","id":"0190163d-8694-739b-aea5-966c26f8ad91","sku":"SKU-000123456789","note":"leave it with the neighbour, please, who is at home until noon on workdays; else at the shop on the corner, and ring twice","price":12999.90,"state":"HELD","urgent":true,"customer":471100815,"quantity":12,"warehouse":"Hamburg-Altona, hall 7, aisle 12"}`

func flatEvent(t testing.TB) (*EventType, []byte) {
	t.Helper()
	e, err := ParseEventType(flat)
	if err != nil {
		t.Fatal(err)
	}
	data, err := AppendJSONToAvro(nil, e.Schema, []byte(flatJSON))
	if err != nil {
		t.Fatal(err)
	}
	return e, data
}

func flatCodec(t testing.TB) (*TopicCodec, *EventType, []byte) {
	t.Helper()
	e, data := flatEvent(t)
	topic, err := Compose("item", []*EventType{e}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewTopicCodec([]*TopicSchema{topic})
	if err != nil {
		t.Fatal(err)
	}
	return c, e, data
}

// Each step of an event's way may allocate only so often.
func TestAllocations(t *testing.T) {
	c, e, data := flatCodec(t)
	r, err := NewResolver(e.Schema, e.Schema)
	if err != nil {
		t.Fatal(err)
	}
	text, dst := []byte(flatJSON), make([]byte, 0, 4096)
	for name, step := range map[string]func(){
		"Validate":   func() { err = Validate(e.Schema, data) },
		"AppendAvro": func() { _, _, err = c.AppendAvro(dst, e.Name, e.Fingerprint, data) },
		"AppendJSON": func() { _, _, err = c.AppendJSON(dst, e.Name, text) },
		"Resolver":   func() { _, err = r.Append(dst, data) },
	} {
		if n := testing.AllocsPerRun(100, step); n > 0 || err != nil {
			t.Errorf("%s: %v allocations (%v)", name, n, err)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	e, data := flatEvent(b)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Validate(e.Schema, data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendAvro(b *testing.B) {
	c, e, data := flatCodec(b)
	dst := make([]byte, 0, 4096)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := c.AppendAvro(dst, e.Name, e.Fingerprint, data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	c, e, _ := flatCodec(b)
	dst, text := make([]byte, 0, 4096), []byte(flatJSON)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := c.AppendJSON(dst, e.Name, text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAvroToJSON(b *testing.B) {
	e, data := flatEvent(b)
	dst := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := AppendAvroToJSON(dst, e.Schema, data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	e, data := flatEvent(b)
	reader := mustParse(b, `{"type":"record","name":"ItemReserved","namespace":"shop","fields":[
	 {"name":"sku","type":"string"},{"name":"id","type":"string"},{"name":"quantity","type":"long"},{"name":"added","type":"string","default":"x"},
	 {"name":"note","type":["null","string"]},{"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},{"name":"customer","type":"double"}]}`)
	for name, s := range map[string]*Schema{"same": e.Schema, "other": reader} {
		b.Run(name, func(b *testing.B) {
			r, err := NewResolver(e.Schema, s)
			if err != nil {
				b.Fatal(err)
			}
			dst := make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Append(dst, data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

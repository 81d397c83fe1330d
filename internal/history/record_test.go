package history

import (
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/position"
)

func TestRecord(t *testing.T) {
	r := Record{Pipeline: "orders", Eras: []Era{NewEra(1, "7", 1, 0x3000158, 0x3000158), NewEra(3, "7", 3, 1<<32, 1<<32)}}
	text, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse(text)
	if err != nil || back.Pipeline != "orders" || len(back.Eras) != 2 || back.Newest() != r.Newest() || back.Differs(r) != "" {
		t.Fatalf("%s: %+v, %v", text, back, err)
	}
	h, err := back.History()
	if err != nil || h.Newest() != 3 || h.Holds(position.Position{Epoch: 1, LSN: 1 << 32}) || !h.Holds(position.Position{Epoch: 1, LSN: 1}) {
		t.Errorf("%v, %v", h, err)
	}
	other := Record{Eras: []Era{NewEra(3, "8", 3, 5, 5)}}
	if d := r.Differs(other); !strings.Contains(d, "epoch 3 is timeline 3 of system 7 here, and timeline 3 of system 8 there") {
		t.Error(d)
	}
}

// TestMovedRecord: on another server LSNs begin anew; what the former one committed
// until the database left it is held.
func TestMovedRecord(t *testing.T) {
	r := Record{Pipeline: "orders", Eras: []Era{NewEra(1, "7", 1, 1<<32, 1<<32), NewEra(2, "8", 1, 0, 5<<32)}}
	text, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	h, err := back.History()
	if err != nil || !h.Holds(position.Position{Epoch: 1, LSN: 5<<32 - 1}) || h.Holds(position.Position{Epoch: 1, LSN: 5 << 32}) || !h.Holds(position.Position{Epoch: 2, LSN: 1}) {
		t.Errorf("%s: %v, %v", text, h, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":         "",
		"no JSON":         "{",
		"no era":          `{"pipeline":"p","eras":[]}`,
		"epoch 0":         `{"eras":[{"epoch":0,"begin_lsn":"00"}]}`,
		"no LSN":          `{"eras":[{"epoch":1,"begin_lsn":"x"}]}`,
		"epochs fall":     `{"eras":[{"epoch":2,"begin_lsn":"00"},{"epoch":1,"begin_lsn":"01"}]}`,
		"beginnings fall": `{"eras":[{"epoch":1,"begin_lsn":"02"},{"epoch":2,"begin_lsn":"01"}]}`,
		"no end":          `{"eras":[{"epoch":1,"begin_lsn":"00","before_lsn":"x"}]}`,
		"too long":        `{"pipeline":"` + strings.Repeat("x", maxRecord) + `"}`,
	} {
		if r, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"pipeline":"p","eras":[{"epoch":1,"system_id":"7","timeline":1,"begin_lsn":"0000000003000158"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Parse(text)
		if err != nil {
			return
		}
		again, err := r.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Parse(again); err != nil || back.Differs(r) != "" {
			t.Errorf("%s: %v", again, err)
		}
	})
}

func TestTopic(t *testing.T) {
	seen := make(map[string]string)
	for _, name := range []string{"orders", "Orders", "or ders", "or-ders", "or_ders", strings.Repeat("x", 300), strings.Repeat("x", 301), "a/b", "ü", "x-partition-1"} {
		topic := Topic(name)
		if other, twice := seen[topic]; twice || !IsTopic(topic) || len(topic) > 200 {
			t.Errorf("%q: %s, as %q", name, topic, other)
		}
		seen[topic] = name
	}
	if Topic("orders") != "runnel-history-orders" {
		t.Error(Topic("orders"))
	}
}

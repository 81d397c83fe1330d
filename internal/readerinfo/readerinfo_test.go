package readerinfo

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/schemas"
)

func TestBothWays(t *testing.T) {
	for _, i := range []Info{
		{Name: "fulfilment", Version: 3, Reads: map[string]schemas.Fingerprint{"OrderPlaced": {1, 2}, "shop.OrderPaid": {31: 9}}},
		{Name: "audit"},
		{Name: "idle", Version: 1, Reads: map[string]schemas.Fingerprint{}},
	} {
		back, ok := Parse(i.Properties())
		if !ok || !reflect.DeepEqual(back, i) {
			t.Errorf("%+v became %+v (%t)", i, back, ok)
		}
	}
}

// One that reads too many types to tell is taken for one that may read any.
func TestTooManyToTell(t *testing.T) {
	i := Info{Name: "all", Version: 1, Reads: make(map[string]schemas.Fingerprint)}
	for n := range 1000 {
		i.Reads[fmt.Sprintf("Event%d", n)] = schemas.Fingerprint{byte(n)}
	}
	if back, ok := Parse(i.Properties()); !ok || back.Reads != nil || back.Name != "all" {
		t.Errorf("it became %+v (%t)", back, ok)
	}
}

func TestOthers(t *testing.T) {
	good := Info{Name: "a", Reads: map[string]schemas.Fingerprint{"E": {}}}.Properties()
	for key, values := range map[string][]string{
		versionKey: {"", "x"}, readsKey: {"E", "E=", "E=zz", "E=" + strings.Repeat("0", 66), "=" + strings.Repeat("0", 62)},
	} {
		for _, v := range values {
			bad := map[string]string{}
			for k, v := range good {
				bad[k] = v
			}
			bad[key] = v
			if i, ok := Parse(bad); ok {
				t.Errorf("%s=%s was read as %+v", key, v, i)
			}
		}
	}
	if _, ok := Parse(map[string]string{"app": "billing"}); ok {
		t.Error("somebody else's consumer was read")
	}
}

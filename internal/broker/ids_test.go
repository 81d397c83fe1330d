package broker

import (
	"testing"

	"pgregory.net/rapid"
)

func TestMessageIDText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := MessageID{
			Ledger: rapid.Int64Min(0).Draw(t, "ledger"),
			Entry:  rapid.Int64Min(0).Draw(t, "entry"),
			Batch:  rapid.Int32Min(-1).Draw(t, "batch"),
		}
		if got, err := ParseMessageID(id.String()); err != nil || got != id {
			t.Errorf("%s became %v, %v", id, got, err)
		}
	})
	for _, text := range []string{"", "1", "1:", "a:1", "1:2:3:4", "-1:2", "1:2:99999999999", "1:2:-1"} {
		if id, err := ParseMessageID(text); err == nil {
			t.Errorf("%q became %v", text, id)
		}
	}
}

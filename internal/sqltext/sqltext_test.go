package sqltext

import "testing"

func TestLiteral(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":         "''",
		"orders":   "'orders'",
		"o'clock":  "'o''clock'",
		`a\b'c`:    `E'a\\b''c'`,
		"'; drop;": "'''; drop;'",
	} {
		if got := Literal(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

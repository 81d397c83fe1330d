package broker

import "testing"

func TestNameOfReaders(t *testing.T) {
	for name, want := range map[string]string{
		"reader-0123456789": "reader", "reader-abcde": "reader", "orders-java-reader-0a1b2c3d4e": "orders-java",
		"reader": "reader", "audit": "audit", "my-reader": "my-reader", "reader-of-orders": "reader-of-orders", "a-reader-b-c": "a-reader-b-c",
	} {
		if got := nameOfReaders(name); got != want {
			t.Errorf("%s became %s, want %s", name, got, want)
		}
	}
}

package nearest

import (
	"strings"
	"testing"
)

func TestOf(t *testing.T) {
	known := []string{"name", "schemas", "postgres.url", "topics.partitions", "pulsar.admin_url", "pg", "x", strings.Repeat("k", 500)}
	for word, want := range map[string]string{
		"naem": "name", "NAMES": "name", "schema": "schemas", "postgres.uri": "postgres.url", "partitions": "topics.partitions",
		"pulsar.adminurl": "pulsar.admin_url", "gp": "pg", "X": "x", "y": "", "zzz": "", "": "", strings.Repeat("k", 499): "",
	} {
		if got := Of(word, known); got != want {
			t.Errorf("%.40s: %q, want %q", word, got, want)
		}
	}
}

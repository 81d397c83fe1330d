package cli

import (
	"os"
	"testing"
)

const (
	intA  = `{"type": "record", "name": "A", "aggregate": "order", "fields": [{"name": "n", "type": "int"}]}`
	longA = `{"type": "record", "name": "A", "aggregate": "order", "fields": [{"name": "n", "type": "long"}]}`
)

// twoFolders is a catalog and what it takes the place of, without servers.
func twoFolders(t *testing.T, was, now string) *live {
	t.Chdir(t.TempDir())
	for _, dir := range []string{"was", "schemas"} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	l := &live{t, []string{"LANG=C.UTF-8"}}
	l.write("../was/a.avsc", was)
	l.write("a.avsc", now)
	return l
}

// What is waived is said, and counts as nothing.
func TestCheckWaived(t *testing.T) {
	l := twoFolders(t, intA, longA)
	check := []string{"schemas", "check", "schemas", "--against", "was", "--strict"}
	l.refuses(2, []string{"TYPE_MISMATCH", "1 error, 0 warnings\n"}, check...)
	l.write("catalog.yaml", "waivers: [{event: A, rule: TYPE_MISMATCH, reason: nobody reads it, owner: shop, expires: 2999-01-01}]\n")
	l.refuses(0, []string{"(note)", "Waived until 2999-01-01 by shop: nobody reads it", "0 errors, 0 warnings, 1 note\n"}, check...)
	l.refuses(0, []string{"::notice file=schemas/a.avsc,line=1,col=88,title=TYPE_MISMATCH::"}, append(check, "--format", "github")...)
	l.refuses(0, []string{`"severity":"note"`}, append(check, "--format", "jsonl")...)
	l.refuses(0, []string{`"notes": 1`, `"severity": "note"`}, append(check, "-o", "json")...)
}

// Programs need not take the message apart.
func TestCheckSaysVersions(t *testing.T) {
	l := twoFolders(t, intA, longA)
	l.refuses(2, []string{`"direction":"forward","against":["was"]}`}, "schemas", "check", "schemas", "--against", "was", "--format", "jsonl")
	l = twoFolders(t, longA, intA)
	l.refuses(2, []string{`"direction":"backward","against":["was"]}`}, "schemas", "check", "schemas", "--against", "was", "--format", "jsonl")
}

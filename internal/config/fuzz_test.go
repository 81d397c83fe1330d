package config

import (
	"testing"

	"github.com/runnel-cdc/runnel/internal/fault"
)

// FuzzReadYAML: whatever the file holds, every complaint is a fault with a
// code, and what was read can be shown and set again.
func FuzzReadYAML(f *testing.F) {
	for _, seed := range []string{
		full, "", "---", "a: b: c", "name: |\n  x\n", "? a\n: b", "<<: *a", "routes:\n- - -", "{{{", "name: !!binary x",
		"\t", "name:\r\n  url", "'", "\"\\u12", "- ? :", "a: &a [*a]", "%YAML 9", "name: .inf", "\xff\xfe", "postgres: {url}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		values, _, errs := readYAML("f.yaml", src)
		for _, err := range errs {
			if fault.Find(err) == nil {
				t.Errorf("no code: %v", err)
			}
		}
		c := &Config{origins: map[string]Origin{}, refused: map[string]refusal{}}
		for _, s := range settings {
			if err := c.apply(s, nil, nil, values); err != nil && fault.Find(err) == nil {
				t.Errorf("no code: %v", err)
			}
		}
		for _, err := range c.validate() {
			if fault.Find(err) == nil {
				t.Errorf("no code: %v", err)
			}
		}
		if len(errs) > 0 {
			return
		}
		again := &Config{}
		for _, s := range settings {
			if text := s.field(c).String(); text != "" && text != "[]" && text != "0" && text != "0B" && text != "0s" {
				if err := s.field(again).set(text); err != nil {
					t.Errorf("%s: %q cannot be written: %v", s.key, text, err)
				}
			}
		}
	})
}

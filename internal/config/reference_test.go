package config

import (
	"strings"
	"testing"
)

func TestEverySettingIsDescribed(t *testing.T) {
	all := Reference()
	if len(all) != len(about) {
		t.Errorf("%d settings, %d descriptions", len(all), len(about))
	}
	for _, s := range all {
		if s.Form == "" || !strings.HasSuffix(s.About, ".") {
			t.Errorf("%s: form %q, about %q", s.Key, s.Form, s.About)
		}
	}
}

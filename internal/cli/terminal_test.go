package cli

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/config"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":           "plain",
		"two\nlines\t":    "two\nlines\t",
		"\x1b[2Jgone":     `\u001b[2Jgone`,
		"csi \u009b31m":   `csi \u009b31m`,
		"rtl \u202e back": `rtl \u202e back`,
		"bad \xff":        "bad \uFFFD",
		"ok é 漢":          "ok é 漢",
	} {
		if got := clean(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestColorAndSigns(t *testing.T) {
	for _, tc := range []struct {
		environ, color string
		colored, ascii bool
	}{
		{"LANG=C.UTF-8", "always", true, false},
		{"NO_COLOR=1", "always", true, true},
		{"LANG=C", "auto", false, true}, // no terminal here
		{"LC_ALL=en_US.utf8", "never", false, false},
	} {
		a := &app{environ: []string{tc.environ}, color: tc.color}
		if p := newPrinter(a, &bytes.Buffer{}); p.color != tc.colored || p.ascii != tc.ascii {
			t.Errorf("%+v: %+v", tc, p)
		}
	}
}

func TestLogFormats(t *testing.T) {
	for _, tc := range []struct {
		format            string
		terminal, colored bool
		want              string
	}{
		{"auto", false, false, "level=INFO msg=hello a=1"},
		{"auto", true, true, "\x1b["},
		{"auto", true, false, "INF hello a=1"},
		{"text", true, true, "level=INFO msg=hello a=1"},
		{"json", false, false, `"msg":"hello","a":1`},
	} {
		var b bytes.Buffer
		log := slog.New(logHandler(&b, config.Log{Level: "info", Format: tc.format}, tc.terminal, tc.colored))
		log.Debug("hidden")
		log.Info("hello", "a", 1)
		if got := b.String(); !strings.Contains(got, tc.want) || strings.Contains(got, "hidden") {
			t.Errorf("%+v: %q", tc, got)
		}
	}
}

func TestRemedyIsAligned(t *testing.T) {
	var b bytes.Buffer
	p := &printer{w: &b}
	p.remedy("  ", "As a superuser:\n  ALTER ROLE x;")
	if want := "  → As a superuser:\n      ALTER ROLE x;\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/fault"
)

// write puts a runnel.yaml into a fresh folder and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "runnel.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const full = `name: shop
schemas: ./schemas
postgres:
  url: postgres://runnel_daemon@db/shop?sslmode=verify-full
  password_file: /run/secrets/postgres
pulsar:
  url: pulsar+ssl://pulsar:6651
  admin_url: https://pulsar:8443
  token_file: /run/secrets/pulsar # read again when it changes
  ca_file: /etc/ssl/pulsar-ca.pem
capture:
  slot: runnel_shop
  poison: stop
  in_flight: 32MiB
  stall: 60s
outbox:
  retention: 7d
topics:
  namespace: public/runnel
  partitions: 4
  retention: forever
routes:
  - {aggregate: order, type: "Audit*", topic: order-audit}
  - aggregate: invoice
    topic: money
http: 127.0.0.1:9464
log:
  level: debug
`

func TestLoadFile(t *testing.T) {
	file := write(t, full)
	c, err := Load(Options{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "shop" || c.Schemas != filepath.Join(filepath.Dir(file), "schemas") || c.Capture.InFlight != 32<<20 ||
		c.Capture.Stall != time.Minute || c.Outbox.Retention != 7*day || c.Topics.Retention != Forever ||
		c.Topics.Partitions != 4 || c.Log.Level != "debug" || c.Log.Format != "auto" {
		t.Errorf("%+v", c)
	}
	want := []Route{{"order", "Audit*", "order-audit"}, {"invoice", "*", "money"}}
	if len(c.Routes) != 2 || c.Routes[0] != want[0] || c.Routes[1] != want[1] {
		t.Errorf("routes %+v", c.Routes)
	}
	if o := c.OriginOf("capture.stall"); o.Kind != "file" || o.At != file+":15:10" {
		t.Errorf("origin of capture.stall: %+v", o)
	}
	if o := c.OriginOf("log.format"); o.Kind != "default" {
		t.Errorf("origin of log.format: %+v", o)
	}
}

func TestDefaults(t *testing.T) {
	t.Chdir(t.TempDir()) // no runnel.yaml here
	c, err := Load(Options{Flags: map[string]string{"postgres": "postgres://u:secret@h/My-Shop"}})
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "my_shop" || c.Capture.Slot != "runnel_my_shop" || c.HTTP != "127.0.0.1:9464" || c.Topics.Namespace != "public/runnel" ||
		c.Capture.Poison != "stop" || c.Topics.Partitions != 4 || c.Outbox.Retention != 7*day || c.File != "" {
		t.Errorf("%+v", c)
	}
	if c.Topics.Retention != Forever {
		t.Errorf("retention %v", c.Topics.Retention)
	}
}

func TestPrecedence(t *testing.T) {
	file := write(t, "name: from_file\npulsar: {url: 'pulsar://file:1', admin_url: 'http://file:1'}\nroutes: [{topic: a}]\n")
	c, err := Load(Options{
		File:    file,
		Flags:   map[string]string{"pulsar": "pulsar://flag:1"},
		Environ: []string{"RUNNEL_PULSAR_URL=pulsar://env:1", "RUNNEL_PULSAR_ADMIN_URL=http://env:1", "RUNNEL_ROUTES=[{topic: b}]", "RUNNEL_NAME="},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Pulsar.URL != "pulsar://flag:1" || c.Pulsar.AdminURL != "http://env:1" || c.Name != "from_file" || c.Routes[0].Topic != "b" {
		t.Errorf("%+v", c)
	}
	for key, want := range map[string]Origin{
		"pulsar.url": {"flag", "--pulsar"}, "pulsar.admin_url": {"environment", "RUNNEL_PULSAR_ADMIN_URL"},
		"name": {"file", file + ":1:7"}, "routes": {"environment", "RUNNEL_ROUTES"}, "http": {"default", ""},
	} {
		if got := c.OriginOf(key); got != want {
			t.Errorf("origin of %s: %+v, want %+v", key, got, want)
		}
	}
}

// Each bad file gives its code at its place, with a remedy.
func TestBadFiles(t *testing.T) {
	for _, tc := range []struct {
		name, yaml, at string
		code           *fault.Code
		text           string // in message or remedy
	}{
		{"unknown key", "name: a\nschema: ./s\n", ":2:1", ErrUnknownKey, "Did you mean schemas?"},
		{"unknown nested key", "postgres:\n  ulr: x\n", ":2:3", ErrUnknownKey, "Did you mean postgres.url?"},
		{"wrong section", "postgres:\n  in_flight: 1MiB\n", ":2:3", ErrUnknownKey, "Did you mean capture.in_flight?"},
		{"no section", "stall: 60s\n", ":1:1", ErrUnknownKey, "Did you mean capture.stall?"},
		{"a section misspelt", "topic:\n  partitions: 3\n", ":1:1", ErrUnknownKey, "Did you mean topics?"},
		{"nothing near", "gibberish_of_sorts: 1\n", ":1:1", ErrUnknownKey, "gibberish_of_sorts"},
		{"unknown route key", "routes:\n  - {topics: x}\n", ":2:6", ErrUnknownKey, "Did you mean topic?"},
		{"number for text", "name: 2024\n", ":1:7", ErrType, "quotes"},
		{"truth value for text", "http: true\n", ":1:7", ErrType, "truth value"},
		{"text for number", "topics:\n  partitions: \"4\"\n", ":2:15", ErrType, "whole number"},
		{"duration without unit", "capture: {stall: 60}\n", ":1:18", ErrType, "unit"},
		{"nothing", "schemas:\n", ":1:1", ErrType, "nothing"},
		{"list for text", "name: [a]\n", ":1:7", ErrType, "a list"},
		{"mapping for text", "name: {a: b}\n", ":1:7", ErrType, "a mapping"},
		{"text for section", "postgres: x\n", ":1:11", ErrType, "mapping"},
		{"text for routes", "routes: x\n", ":1:9", ErrType, "list"},
		{"alias", "name: &a shop\nschemas: *a\n", ":1:7", ErrType, "anchor"},
		{"tag", "name: !!str shop\n", ":1:7", ErrType, "tag"},
		{"syntax", "name: 'a\n", ":1:7", ErrSyntax, "quote"},
		{"duplicate key", "name: a\nname: b\n", ":2:1", ErrSyntax, "name"},
		{"two documents", "name: a\n---\nname: b\n", ":3:1", ErrSyntax, "second document"},
		{"too deep", "name: " + strings.Repeat("[", 100), "", ErrSyntax, "deeper"},
		{"root is a list", "- a\n", ":1:1", ErrType, "mapping"},
		{"bad size", "capture: {in_flight: 32MX}\n", ":1:22", ErrValue, "32MiB"},
		{"small size", "capture: {in_flight: 1kB}\n", ":1:22", ErrValue, "64KiB"},
		{"bad duration", "outbox: {retention: 7x}\n", ":1:21", ErrValue, "7d"},
		{"too many partitions", "topics: {partitions: 9999}\n", ":1:22", ErrValue, "1024"},
		{"bad choice", "log: {level: loud}\n", ":1:14", ErrValue, "debug, info"},
		{"bad name", "name: My-Shop\n", ":1:7", ErrValue, "lower-case"},
		{"long name", "name: " + strings.Repeat("a", 57) + "\n", ":1:7", ErrValue, "56"},
		{"bad slot", "capture: {slot: a-b}\n", ":1:17", ErrValue, "lower-case"},
		{"bad namespace", "topics: {namespace: runnel}\n", ":1:21", ErrValue, "tenant/namespace"},
		{"bad http", "http: '9464'\n", ":1:7", ErrValue, "host:port"},
		{"http on every interface unsaid", "http: ':9464'\n", ":1:7", ErrValue, "0.0.0.0:9464"},
		{"bad postgres url", "postgres: {url: 'mysql://x'}\n", ":1:17", ErrValue, "want a"},
		{"bad pulsar url", "pulsar: {url: 'http://x'}\n", ":1:15", ErrValue, "pulsar://"},
		{"bad admin url", "pulsar: {admin_url: 'pulsar://x'}\n", ":1:21", ErrValue, "http://"},
		{"route without topic", "routes: [{type: A}]\n", ":1:10", ErrValue, "topic is missing"},
		{"route to a partition", "routes: [{topic: a-partition-1}]\n", ":1:10", ErrValue, "local name"},
		{"route with a bad glob", "routes: [{topic: a, type: '[A'}]\n", ":1:10", ErrValue, "* ?"},
		{"secret", "postgres: {password: x}\n", ":1:12", ErrSecretInline, "RUNNEL_POSTGRES_PASSWORD"},
		{"a limit of none", "capture: {parked_limit: 0}\n", ":1:25", ErrValue, "1 to 1000000"},
		{"no poison policy", "capture: {poison: skip}\n", ":1:19", ErrValue, "want one of stop, park"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := write(t, tc.yaml)
			_, err := Load(Options{File: file})
			e := fault.Find(err)
			if e == nil || e.Code != tc.code {
				t.Fatalf("got %v, want %s", err, tc.code.ID)
			}
			if e.Where != file+tc.at {
				t.Errorf("at %s, want %s", e.Where, tc.at)
			}
			if all := err.Error() + e.WhatToDo(); !strings.Contains(all, tc.text) {
				t.Errorf("%q lacks %q", all, tc.text)
			}
		})
	}
}

func TestBadElsewhere(t *testing.T) {
	_, err := Load(Options{File: "no/such.yaml"})
	if e := fault.Find(err); e == nil || e.Code != ErrNotFound || e.Where != "no/such.yaml" {
		t.Errorf("missing file: %v", err)
	}
	t.Chdir(t.TempDir())
	_, err = Load(Options{Environ: []string{"RUNNEL_CAPTURE_STALL=soon", "RUNNEL_ROUTES=[{topik: a}]"}, Flags: map[string]string{"http": "x"}})
	for _, want := range []string{"RUNNEL_CAPTURE_STALL: CONFIG_VALUE", "RUNNEL_ROUTES: CONFIG_UNKNOWN_KEY", "--http: CONFIG_VALUE"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
	c, err := Load(Options{Environ: []string{"RUNNEL_POSTGRES_ULR=x", "RUNNEL_TEST_SERVERS=required"}})
	if err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "RUNNEL_POSTGRES_URL?") {
		t.Errorf("%v, warnings %q", err, c.Warnings)
	}
	err = c.Need("postgres.url", "pulsar.ca_file", "http")
	if e := fault.Find(err); e == nil || e.Code != ErrMissing || !strings.Contains(e.WhatToDo(), "--postgres") ||
		!strings.Contains(err.Error(), "pulsar.ca_file") || strings.Contains(err.Error(), "http is") {
		t.Errorf("Need: %v", err)
	}
}

func TestAddresses(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := Load(Options{Environ: []string{"RUNNEL_PULSAR_URL=pulsar://a:6650,b:6650", "RUNNEL_HTTP=off", "RUNNEL_POSTGRES_URL=postgres://u@a:1,b:2/db"}}); err != nil {
		t.Error(err)
	}
	if c, err := Load(Options{Flags: map[string]string{"http": ""}}); err != nil || c.HTTP != HTTPOff {
		t.Errorf("%v, http %q", err, c.HTTP)
	}
	_, err := Load(Options{Environ: []string{"RUNNEL_POSTGRES_URL=postgres://u:hunter2@h/db?sslmode=verify-full&sslrootcert=/no/such.pem"}})
	if err == nil || !strings.Contains(err.Error(), "/no/such.pem") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}

// All faults are reported at once.
func TestAllFaults(t *testing.T) {
	_, err := Load(Options{File: write(t, "nane: a\ncapture: {stall: x}\nhttp: 1\n")})
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 3 {
		t.Errorf("%v", err)
	}
}

// What is refused is shown as it was given, beside what is not; no secret is.
func TestRefusedAreShown(t *testing.T) {
	file := write(t, `name: [a]
postgres: {url: 'mysql://u:hunter2@h/db', password: hunter2}
capture: {stall: soon, in_flight: 1MiB, poison: none}
topics: {partitions: true, namespace: 7, nane: x}
routes:
  - {topic: a-partition-1}
http: 1
`)
	c, err := Load(Options{File: file, Flags: map[string]string{"log-level": "loud"}, Environ: []string{"RUNNEL_HTTP=127.0.0.1:1"}})
	if joined, ok := err.(interface{ Unwrap() []error }); !ok || len(joined.Unwrap()) != 11 {
		t.Errorf("%v", err)
	}
	got := map[string]Entry{}
	for _, e := range c.Entries() {
		got[e.Key] = e
		if all := fmt.Sprint(e.Value, e.text); strings.Contains(all, "hunter2") {
			t.Errorf("leaked: %s", all)
		}
	}
	for key, want := range map[string][3]string{
		"name":              {"(a list)", ":1:7", "CONFIG_TYPE"},
		"postgres.url":      {"mysql://u:xxxxx@h/db", ":2:17", "CONFIG_VALUE"},
		"postgres.password": {Hidden, ":2:43", "CONFIG_SECRET_INLINE"},
		"capture.stall":     {"soon", ":3:18", "CONFIG_VALUE"},
		"capture.in_flight": {"1MiB", ":3:35", ""},
		"capture.poison":    {"none", ":3:49", "CONFIG_VALUE"},
		"topics.partitions": {"(a truth value)", ":4:22", "CONFIG_TYPE"},
		"topics.namespace":  {"7", ":4:39", "CONFIG_TYPE"},
		"routes":            {"- {topic: a-partition-1}", ":6:3", "CONFIG_VALUE"},
	} {
		if e := got[key]; e.text != want[0] || e.At != file+want[1] || e.Refused != want[2] {
			t.Errorf("%s: %+v, want %v", key, e, want)
		}
	}
	if e := got["http"]; e.text != "127.0.0.1:1" || e.Refused != "" { // the file's, though wrong, is not in effect
		t.Errorf("%+v", e)
	}
	if e := got["log.level"]; e.text != "loud" || e.Value != "loud" || e.At != "--log-level" || e.Refused != "CONFIG_VALUE" {
		t.Errorf("%+v", e)
	}
	for _, text := range []string{"name: 'a", "- a", "name: a\n---\nname: b"} {
		if c, err := Load(Options{File: write(t, text)}); err == nil || c.Entries() != nil {
			t.Errorf("%q, of which nothing can be known: %v", text, c.Entries())
		}
	}
}

func TestEmptyFiles(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "postgres:\n", "postgres:\n  # url: x\nname: a\n"} {
		if _, err := Load(Options{File: write(t, text)}); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

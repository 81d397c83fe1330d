package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/doctor"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/tail"
)

// textOf is what a result looks like for people, without colours.
func textOf(write func(*printer)) string {
	var out bytes.Buffer
	write(&printer{w: &out})
	return out.String()
}

// A halt is told once: code, place, message, remedy.
func TestStatusOfHalt(t *testing.T) {
	now := time.Now()
	r := statusResult{Pipeline: "shop", Daemon: doctor.Daemon{URL: "http://x", Status: &pipeline.Status{
		Pipeline: "shop", Version: "v1", Started: now, State: pipeline.Halted, Since: now, Run: 3, NextRun: new(now.Add(20*time.Second + 300*time.Millisecond)), InFlightEvents: 1, OldestSeconds: new(2.5),
		Code: "EVENT_TYPE_UNKNOWN", Message: "position 7: no type Eaten", Remedy: "Add it.",
	}}}
	text := textOf(r.text)
	for _, want := range []string{
		"daemon    halted for 0s, run 3, tries again in 20s; version v1, up for 0s\n",
		"waiting   at least 1 event; the oldest was committed 2.5 s ago\n",
		"\nEVENT_TYPE_UNKNOWN position 7: no type Eaten\n→ Add it.\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	r.Daemon.Status.NextRun = nil // a run is under way, and has not proved that the halt is over
	if text := textOf(r.text); !strings.Contains(text, "run 3, tries again just now;") {
		t.Error(text)
	}
	r.Daemon.Status.State = pipeline.Streaming
	if text := textOf(r.text); !strings.Contains(text, "run 3; version") {
		t.Error(text)
	}
}

// What is not known is not told as nothing.
func TestStatusOfTheUnknown(t *testing.T) {
	r := statusResult{Pipeline: "shop", Slot: slotStatus{Name: "s", Exists: true, WALStatus: "reserved"},
		Daemon: doctor.Daemon{URL: "http://x", Status: &pipeline.Status{State: pipeline.Starting}}}
	text := textOf(r.text)
	for _, want := range []string{"waiting   not known until the daemon has read", "lag       not known, 0B kept"} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	if out, err := json.Marshal(statusResult{Daemon: r.Daemon}); err != nil ||
		!strings.Contains(string(out), `"lag_bytes":null,"retained`) || !strings.Contains(string(out), `"oldest_unpublished_seconds":null`) {
		t.Errorf("%s, %v", out, err)
	}
	r.Daemon.Status.OldestSeconds = new(0.0)
	if text := textOf(r.text); !strings.Contains(text, "waiting   nothing\n") {
		t.Error(text)
	}
}

// What is about to go wrong is told with its remedy, once: not what the daemon
// halted for anyway.
func TestStatusOfWarnings(t *testing.T) {
	r := statusResult{
		Pipeline: "shop",
		Slot:     slotStatus{Name: "s", Exists: true, WALStatus: "unreserved", LagBytes: new(int64(1 << 20)), RetainedBytes: 3 << 20, Inactive: 90},
		Warnings: []pipeline.Warning{
			{Code: "SLOT_AT_RISK", Message: "slot s keeps much", Remedy: "Raise the limit:\n  ALTER SYSTEM;"},
			{Code: "SLOT_LOST", Message: "slot s is lost", Remedy: "Repair."},
		},
		Daemon: doctor.Daemon{URL: "http://x", Status: &pipeline.Status{State: pipeline.Halted, Code: "SLOT_LOST", Message: "gone", Remedy: "Repair."}},
	}
	text := textOf(r.text)
	for _, want := range []string{
		"slot      s, nobody streams from it for 90s, WAL unreserved (beyond max_slot_wal_keep_size: the next checkpoint may remove it)\n",
		"lag       1MiB of WAL, 3MiB kept on the server\n",
		"\nSLOT_AT_RISK slot s keeps much\n→ Raise the limit:\n    ALTER SYSTEM;\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	if strings.Count(text, "SLOT_LOST") != 1 {
		t.Errorf("told twice:\n%s", text)
	}
}

func TestStampOf(t *testing.T) {
	const stored = "00000001-0000000001bcc828-00000005"
	if got, err := stampOf(stored, 20); err != nil || got != stored+"-0000000000000014" {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := stampOf("anything", 0); err != nil || got != "" {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := stampOf("anything", 1); err == nil {
		t.Error("no error")
	}
}

// The event is the same JSON for people and for programs.
func TestTailShowsOneForm(t *testing.T) {
	const event = `{"note":null,"by":"a<b","to":{"long":7}}`
	e := tail.Event{Topic: "persistent://public/x/order", Partition: 2, Ordinal: 3, Type: "Moved", Key: "k", Event: json.RawMessage(event)}
	if text := textOf(func(p *printer) { writeEvent(p, e) }); text != "- order/2#3 Moved k "+event+"\n" {
		t.Error(text)
	}
	var line bytes.Buffer
	if err := tail.WriteJSON(&line, e); err != nil || !strings.Contains(line.String(), `"event":`+event) {
		t.Errorf("%v, %s", err, line.String())
	}
}

// Servers that run come with the line that makes a shell use them; only their
// addresses are for export.
func TestDevServers(t *testing.T) {
	now := time.Now()
	up := devServer{Name: "Pulsar", Version: "4", Running: true, PID: 7, Since: &now, URL: "pulsar://a", AdminURL: "http://a"}
	down := devServer{Name: "Postgres", Version: "17", URL: "postgres://a"}
	usual, err := devstack.DefaultDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		r    devResult
		want string
	}{
		{devResult{Folder: "/s", Servers: []devServer{up}}, "to use them in this shell: eval \"$(runnel dev env --dir /s)\"\n"},
		{devResult{Folder: usual, Servers: []devServer{up}}, "to use them in this shell: eval \"$(runnel dev env)\"\n"},
		{devResult{Folder: usual, Servers: []devServer{up, down}}, "start what is down with `runnel dev up`\n"},
	} {
		if text := textOf(tc.r.text); !strings.HasSuffix(text, tc.want) {
			t.Errorf("want %q:\n%s", tc.want, text)
		}
	}
	r := devResult{Servers: []devServer{up, down}}
	if !r.runs("pulsar://a") || !r.runs("http://a") || r.runs("postgres://a") || r.runs("") {
		t.Error("only the addresses of servers that run")
	}
}

// An error that was wrapped on its way tells code and place once.
func TestWrappedFault(t *testing.T) {
	code := fault.Define("SOME_FAULT", fault.Environment, "A cause.", "A remedy.")
	r := describe(fmt.Errorf("partition 3: %w", code.Wrap(fault.Define("OTHER", fault.Runtime, "", "").New("gone"), "no answer").At("here")))
	if r.Code != "SOME_FAULT" || r.Path != "here" || r.Message != "partition 3: no answer: OTHER gone" {
		t.Errorf("%+v", r)
	}
}

// emptyNamespace is a broker that is asked for topics and has none.
type emptyNamespace struct {
	tailClient
	url string
}

func (e emptyNamespace) AdminURL() string   { return e.url }
func (e emptyNamespace) HTTP() *http.Client { return http.DefaultClient }
func (e emptyNamespace) Close()             {}

func TestTailOfNoTopics(t *testing.T) {
	t.Chdir(t.TempDir())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("[]")) }))
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	d := deps{dial: func(context.Context, *config.Config) (tailClient, error) { return emptyNamespace{url: server.URL}, nil }}
	code, _, stderr := run(t, d, "tail", "--pulsar", "pulsar://x", "--pulsar-admin", server.URL)
	if code != 3 || !strings.HasPrefix(stderr, "TOPIC_UNKNOWN the namespace public/runnel has no topics\n→ ") {
		t.Errorf("%d, %s", code, stderr)
	}
}

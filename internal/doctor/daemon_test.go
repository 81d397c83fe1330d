package doctor

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pipeline"
)

// serve answers as a daemon does and returns its address.
func serve(t *testing.T, st pipeline.Status) string {
	return serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/status" {
			http.NotFound(w, r)
			return
		}
		if err := json.NewEncoder(w).Encode(st); err != nil {
			t.Error(err)
		}
	})
}

func serveFunc(t *testing.T, handler http.HandlerFunc) string {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// unused returns an address at which nothing listens.
func unused(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// A daemon that does not run is no failure; one that is halted fails under its
// own code, with its own remedy.
func TestDaemonCheck(t *testing.T) {
	ago := time.Now().Add(-90 * time.Second)
	status := func(state, code, message, remedy string) pipeline.Status {
		return pipeline.Status{Pipeline: "shop", Version: "v1.2.3", Started: ago, State: state, Since: ago, Code: code, Message: message, Remedy: remedy}
	}
	port := func(address string) string { _, p, _ := net.SplitHostPort(address); return p }
	for name, tc := range map[string]struct {
		http, code, text string
		status           Status
	}{
		"streaming":          {serve(t, status(pipeline.Streaming, "", "", "")), "", "version v1.2.3, up for 90s, streaming for 90s, at http://127.0.0.1:", Pass},
		"on every interface": {"0.0.0.0:" + port(serve(t, status(pipeline.Streaming, "", "", ""))), "", "streaming for 90s", Pass},
		"halted": {serve(t, status(pipeline.Halted, "EVENT_TYPE_UNKNOWN", "position 7: no type Eaten", "Add it.")),
			"EVENT_TYPE_UNKNOWN", "halted for 90s: position 7: no type Eaten|Add it.", Fail},
		"retrying":            {serve(t, status(pipeline.Retrying, "PULSAR_UNREACHABLE", "no broker", "Start it.")), "PULSAR_UNREACHABLE", "retrying for 90s: no broker|Start it.", Warn},
		"waiting":             {serve(t, status(pipeline.Waiting, "", "partition 1 is held by x", "")), "DAEMON_NOT_STREAMING", "waiting for 90s: partition 1", Warn},
		"starting":            {serve(t, status(pipeline.Starting, "", "", "")), "DAEMON_NOT_STREAMING", "starting for 90s|Run the doctor again", Warn},
		"of another pipeline": {serve(t, pipeline.Status{Pipeline: "other", State: pipeline.Halted}), "DAEMON_UNKNOWN", `"other"|--http`, Warn},
		"no daemon":           {serveFunc(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }), "DAEMON_UNKNOWN", "not a runnel daemon", Warn},
		"some server":         {serveFunc(t, http.NotFound), "DAEMON_UNKNOWN", "not a runnel daemon (HTTP status 404)", Warn},
		"hangs up":            {serveFunc(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), "DAEMON_UNKNOWN", "EOF", Warn},
		"not running":         {unused(t), "", "nothing listens at http://127.0.0.1:", Skip},
		"not asked":           {config.HTTPOff, "", "http is off", Skip},
	} {
		t.Run(name, func(t *testing.T) {
			report, err := Run(t.Context(), &config.Config{Name: "shop", HTTP: tc.http}, "daemon")
			if err != nil {
				t.Fatal(err)
			}
			r := find(t, report, "daemon")
			if r.Status != tc.status || r.Code != tc.code {
				t.Errorf("%+v", r)
			}
			for text := range strings.SplitSeq(tc.text, "|") {
				if !strings.Contains(r.Message+" "+r.Remedy, text) {
					t.Errorf("%+v lacks %q", r, text)
				}
			}
			if class, failed := report.Failed(); failed != (tc.status == Fail) || failed && class != fault.Environment {
				t.Errorf("failed: %v, %v", failed, class)
			}
		})
	}
}

// Without a name nobody's daemon is taken for ours.
func TestDaemonOfNoPipeline(t *testing.T) {
	report, err := Run(t.Context(), &config.Config{HTTP: serve(t, pipeline.Status{State: pipeline.Halted})}, "daemon")
	if err != nil || find(t, report, "daemon").Status != Skip {
		t.Errorf("%+v, %v", report, err)
	}
}

// What the slot's check says fits what the daemon's says.
func TestIdleSlotFitsDaemon(t *testing.T) {
	idle := capture.Slot{Name: "s", Exists: true, Plugin: "pgoutput", Database: "d", Logical: true, WALStatus: "reserved"}
	for state, want := range map[string]string{
		"": "Start the daemon", pipeline.Halted: "There is nothing to start", pipeline.Retrying: "There is nothing to start",
	} {
		var daemon *pipeline.Status
		if state != "" {
			daemon = &pipeline.Status{State: state}
		}
		_, err := judgeSlot(idle, "s", "p", "d", daemon)
		f := fault.Find(err)
		if f == nil || f.Code != ErrSlotIdle || !strings.HasPrefix(f.WhatToDo(), want) || !strings.Contains(f.Message, state) {
			t.Errorf("%q: %v", state, err)
		}
	}
}

func TestBrokerVersion(t *testing.T) {
	for name, want := range map[string]string{
		"Pulsar Server4.0.8": "Pulsar 4.0.8", "Pulsar Server-4.0.8": "Pulsar 4.0.8", "Pulsar Server 4.0.8": "Pulsar 4.0.8", "Else 1": "Else 1",
	} {
		if got := brokerVersion(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

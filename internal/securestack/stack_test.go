package securestack_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/securestack"
	"github.com/runnel-cdc/runnel/internal/testserver"
)

// stack is shared by the tests of this package: a Pulsar takes 10 s to start.
// Tests that change what all see (a certificate) put it back.
var stack *securestack.Stack

// The roles, one per duty.
const (
	provisioner = "provisioner" // the tenant's administrator
	daemon      = "runnel"
	consumer    = "fulfilment"
	stranger    = "stranger"
)

const tenant = "tests"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx := context.Background()
	o := devstack.Options{Postgres: true, Pulsar: true}
	if err := devstack.Installed(ctx, o); err != nil && os.Getenv(testserver.Servers) != "required" {
		fmt.Println("skipped:", err)
		return 0
	}
	var err error
	if folder, err = os.MkdirTemp("", "runnel-secure-"); err == nil {
		defer func() { _ = os.RemoveAll(folder) }()
		err = up(ctx, o)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	code := m.Run()
	fail := func(v any) { fmt.Println(v); code = 1 }
	// All that was logged at level debug, printed and reported.
	text := written.String()
	if leak := secrets.leaked(text); leak != "" {
		fail("a secret was written: " + leak)
	}
	for _, secret := range secrets.all { // the search itself finds what is there
		if secrets.leaked(text+secret) == "" {
			fail("a secret that was written was not found")
		}
	}
	if err := stack.Down(ctx); err != nil {
		fail(err)
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fail(err)
	}
	return code
}

func up(ctx context.Context, o devstack.Options) (err error) {
	if stack, err = securestack.Start(ctx, o); err != nil {
		return err
	}
	_, err = stack.Admin(ctx, http.MethodPut, "/tenants/"+tenant, map[string]any{
		"adminRoles": []string{provisioner}, "allowedClusters": []string{"standalone"},
	})
	return err
}

// token writes a token of the role into a file of its own.
func token(t *testing.T, role string) *tokenFile {
	t.Helper()
	f := &tokenFile{t: t, path: filepath.Join(t.TempDir(), "token")}
	f.write(role, time.Time{})
	return f
}

// tokenFile is a file whose token changes.
type tokenFile struct {
	t    *testing.T
	path string
	last string
}

func (f *tokenFile) write(role string, expires time.Time) {
	f.t.Helper()
	text, err := stack.Issuer.Token(role, expires)
	if err != nil {
		f.t.Fatal(err)
	}
	f.put(text)
}

// put replaces the file at once, as a careful writer does.
func (f *tokenFile) put(text string) {
	f.t.Helper()
	f.last = text
	secrets.add(text)
	if err := errors.Join(os.WriteFile(f.path+".new", []byte(text+"\n"), 0o600), os.Rename(f.path+".new", f.path)); err != nil {
		f.t.Fatal(err)
	}
}

// as is how a role reaches the broker.
func as(t *testing.T, role string) broker.Config { return with(token(t, role)) }

func with(f *tokenFile) broker.Config {
	return broker.Config{
		URL: stack.PulsarURL, AdminURL: stack.PulsarAdminURL, CAFile: stack.CAFile(), TokenFile: f.path,
		Name: "test", Logger: slog.New(slog.NewTextHandler(&written, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

func dial(t *testing.T, cfg broker.Config) *broker.Pulsar {
	t.Helper()
	p, err := broker.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// namespace makes a namespace as the provisioner does, with its roles.
func namespace(t *testing.T) string {
	t.Helper()
	name := namespaceName(t)
	if _, err := dial(t, as(t, provisioner)).EnsureNamespace(t.Context(), name, broker.NamespacePolicy{}); err != nil {
		t.Fatal(err)
	}
	grant(t, name, daemon, "produce", "consume")
	grant(t, name, consumer, "consume")
	return name
}

// namespaceName returns a name that is free.
func namespaceName(t *testing.T) string {
	return tenant + "/t-" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
}

// grant gives a role permissions in a namespace; without any it takes them away.
func grant(t *testing.T, namespace, role string, actions ...string) {
	t.Helper()
	path := "/namespaces/" + namespace + "/permissions/" + role
	if len(actions) == 0 {
		admin(t, http.MethodDelete, path, nil)
		return
	}
	admin(t, http.MethodPost, path, actions)
}

// admin asks the broker as the provisioner.
func admin(t *testing.T, method, path string, body any) []byte {
	t.Helper()
	text, err := stack.Issuer.Token(provisioner, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	status, answer, err := stack.Ask(t.Context(), text, method, path, body)
	if err != nil || status/100 != 2 {
		t.Fatalf("%s %s: %d %s %v", method, path, status, answer, err)
	}
	return answer
}

const definition = `{"type":"record","name":"order_event","namespace":"runnel","fields":[{"name":"n","type":"int"}]}`

// placed is the catalog.
const placed = `{"type":"record","name":"Placed","aggregate":"order","fields":[{"name":"n","type":"int"}]}`

// topic makes a topic with a schema, as the provisioner.
func topic(t *testing.T, namespace, local string, partitions int) (string, *broker.Schema) {
	t.Helper()
	name := "persistent://" + namespace + "/" + local
	if _, err := dial(t, as(t, provisioner)).EnsureTopic(t.Context(), name, partitions, nil); err != nil {
		t.Fatal(err)
	}
	path := "/schemas/" + namespace + "/" + local + "/schema"
	admin(t, http.MethodPost, path, map[string]any{"type": "AVRO", "schema": definition, "properties": map[string]string{}})
	var s struct {
		Version int64  `json:"version"`
		Data    string `json:"data"`
	}
	if err := json.Unmarshal(admin(t, http.MethodGet, path, nil), &s); err != nil {
		t.Fatal(err)
	}
	return name, &broker.Schema{Name: "order_event", JSON: s.Data, Version: s.Version}
}

// must requires a fault of a code, with something to do about it.
func must(t *testing.T, what string, err error, code *fault.Code, remedy string) {
	t.Helper()
	f := fault.Find(err)
	if f == nil || f.Code != code || !strings.Contains(f.WhatToDo(), remedy) {
		t.Errorf("%s: %v, want %s with a remedy that says %q", what, err, code.ID, remedy)
		return
	}
	_, _ = fmt.Fprintln(&written, what, err, f.WhatToDo())
	t.Logf("%s: %v → %s", what, err, f.WhatToDo())
}

// eventually waits for cond.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	pgtest.Eventually(t, 90*time.Second, cond, what)
}

// written is all that was logged or reported. No secret is in it: see run.
var written lines

type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

var _ io.Writer = &written

// secrets are all tokens and passwords that were in use.
var secrets secretSet

type secretSet struct {
	mu  sync.Mutex
	all []string
}

func (s *secretSet) add(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, text)
}

// leaked returns the first secret in text, or the telling part of a token.
func (s *secretSet) leaked(text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, secret := range s.all {
		for _, part := range append(strings.Split(secret, ".")[min(1, strings.Count(secret, ".")):], secret) {
			if len(part) > 6 && strings.Contains(text, part) {
				return part
			}
		}
	}
	return ""
}

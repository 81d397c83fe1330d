package readerstest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// What docs/messages.md says under "Look at it", as it stands there: an event is
// written by psql, as a role that may do nothing else, and read by runnel and by
// the client of Pulsar's distribution, which knows nothing of Runnel.
func TestPublishedBySQLReadByTools(t *testing.T) {
	w := newWorld(t)
	home, err := devstack.PulsarHome()
	if err != nil {
		t.Fatal(err)
	}
	sql, tail, consume := look(t)
	service := w.db.CreateRole(t, "service")
	w.db.Exec(t, fmt.Sprintf("grant %s to %s", w.db.Role("writer"), w.db.Role("service")))
	psql(t, service, sql)

	bin := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(bin, "runnel"), "../../cmd/runnel").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := func(command string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		shell := exec.CommandContext(ctx, "bash", "-ec", command)
		shell.Dir = bin
		shell.Env = append(os.Environ(), "PATH="+bin+":"+filepath.Join(home, "bin")+":"+os.Getenv("PATH"),
			"RUNNEL_POSTGRES_URL="+w.db.URL(), "RUNNEL_PULSAR_URL="+w.broker.url, "RUNNEL_PULSAR_ADMIN_URL="+w.broker.adminURL,
			"RUNNEL_TOPICS_NAMESPACE="+w.namespace, "PULSAR_LOG_DIR="+bin, "PULSAR_CLIENT_CONF="+filepath.Join(bin, "client.conf"))
		var stderr strings.Builder
		shell.Stderr = &stderr
		out, err := shell.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s%s", command, err, out, &stderr)
		}
		return string(out)
	}
	if err := os.WriteFile(filepath.Join(bin, "client.conf"), []byte("webServiceUrl="+w.broker.adminURL+"\nbrokerServiceUrl="+w.broker.url+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	var seen string
	pgtest.Eventually(t, patience, func() bool {
		seen = run(tail)
		return seen != ""
	}, "runnel tail shows the event")
	t.Log(seen)
	var message struct {
		Type, Key string
		Event     struct {
			OrderID  string    `json:"order_id"`
			Total    string    `json:"total"`
			PlacedAt time.Time `json:"placed_at"`
		}
	}
	if err := json.Unmarshal([]byte(seen), &message); err != nil {
		t.Fatal(err) // two events too
	}
	if e := message.Event; message.Type != "OrderPlaced" || message.Key != "42" || e.OrderID != "42" || e.Total != "12.50" ||
		!e.PlacedAt.Equal(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)) {
		t.Errorf("tail shows %+v", message)
	}

	seen = run(strings.ReplaceAll(consume, "persistent://public/runnel/order", w.topic()))
	line := regexp.MustCompile(`(?m)^publishTime:.*$`).FindString(seen) // the rest is its log
	t.Log(line)
	for _, want := range []string{"key:[42]", "type=OrderPlaced", "position=0000", "customer_id=6f2c1f5e-1111-4222-8333-444455556666", "currency=EUR"} {
		if !strings.Contains(line, want) {
			t.Errorf("pulsar-client does not show %q:\n%s", want, seen)
		}
	}
}

// look takes the commands out of the document.
func look(t *testing.T) (sql, tail, consume string) {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)\npsql \\S+ <<'SQL'\n(select runnel.publish.+?)\nSQL\n(runnel tail [^\n]+)\n(pulsar-client consume [^\n]+)\n```").FindSubmatch(text)
	if found == nil {
		t.Fatalf("%s does not show psql, runnel tail and pulsar-client", document)
	}
	return string(found[1]), string(found[2]), string(found[3])
}

// psql runs SQL with Postgres' own program, which does not come with a Postgres
// from Maven.
func psql(t *testing.T, url, sql string) {
	t.Helper()
	program, err := exec.LookPath("psql")
	if err != nil {
		t.Log("no psql here (Debian's package postgresql-client has it): sent by pgx instead")
		if _, err := pgtest.Conn(t, url).Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		return
	}
	cmd := exec.CommandContext(t.Context(), program, "-v", "ON_ERROR_STOP=1", url)
	cmd.Stdin = strings.NewReader(sql)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

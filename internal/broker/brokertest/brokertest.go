// Package brokertest gives tests a real Pulsar: a connection, and a namespace
// of their own that is deleted afterwards.
//
// The addresses come from RUNNEL_PULSAR_URL and RUNNEL_PULSAR_ADMIN_URL.
// Without them a test is skipped, or fails when RUNNEL_TEST_SERVERS is
// "required".
package brokertest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
)

// Config returns the test server's addresses, with timeouts fit for tests.
func Config(t testing.TB) broker.Config {
	t.Helper()
	url, admin := os.Getenv("RUNNEL_PULSAR_URL"), os.Getenv("RUNNEL_PULSAR_ADMIN_URL")
	if url == "" || admin == "" {
		if os.Getenv("RUNNEL_TEST_SERVERS") == "required" {
			t.Fatal("RUNNEL_PULSAR_URL and RUNNEL_PULSAR_ADMIN_URL are not set")
		}
		t.Skip("RUNNEL_PULSAR_URL and RUNNEL_PULSAR_ADMIN_URL are not set")
	}
	return broker.Config{URL: url, AdminURL: admin, Name: "test " + t.Name()}
}

// Dial connects, and closes with the test.
func Dial(t testing.TB) *broker.Pulsar {
	t.Helper()
	return DialConfig(t, Config(t))
}

// DialConfig connects as Dial does, with a configuration derived from Config.
func DialConfig(t testing.TB, cfg broker.Config) *broker.Pulsar {
	t.Helper()
	p, err := broker.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// Namespace makes a namespace with Runnel's policies (tenant/name), and
// deletes it with all its topics after the test.
func Namespace(t testing.TB, p *broker.Pulsar) string {
	t.Helper()
	name := "public/test-" + strings.ToLower(rand.Text()[:12])
	if _, err := p.EnsureNamespace(t.Context(), name, broker.NamespacePolicy{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := DeleteNamespace(p, name); err != nil {
			t.Errorf("deleting %s: %v", name, err)
		}
	})
	return name
}

// Topic makes a partitioned topic in a namespace.
func Topic(t testing.TB, p *broker.Pulsar, namespace, local string, partitions int) string {
	t.Helper()
	topic := "persistent://" + namespace + "/" + local
	if _, err := p.EnsureTopic(t.Context(), topic, partitions, nil); err != nil {
		t.Fatal(err)
	}
	return topic
}

// DeleteNamespace deletes a namespace and its topics, whoever uses them.
func DeleteNamespace(p broker.Admin, namespace string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		err := deleteNamespace(ctx, p, namespace)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func deleteNamespace(ctx context.Context, p broker.Admin, namespace string) error {
	for _, kind := range []struct{ list, suffix string }{{"/partitioned", "/partitions"}, {"", ""}} {
		var topics []string
		if err := Call(ctx, p, http.MethodGet, "/persistent/"+namespace+kind.list, nil, &topics); err != nil {
			return err
		}
		for _, topic := range topics {
			path := "/persistent/" + strings.TrimPrefix(topic, "persistent://")
			// Partitions went with their topic, others with their namespace.
			_ = Call(ctx, p, http.MethodDelete, path+kind.suffix+"?force=true", nil, nil)
		}
	}
	return Call(ctx, p, http.MethodDelete, "/namespaces/"+namespace, nil, nil)
}

// RegisterSchema registers an AVRO schema for a topic and returns it with its
// version.
func RegisterSchema(t testing.TB, p broker.Admin, topic, name, definition string) *broker.Schema {
	t.Helper()
	path := "/schemas/" + strings.TrimPrefix(topic, "persistent://") + "/schema"
	body := map[string]any{"type": "AVRO", "schema": definition, "properties": map[string]string{}}
	if err := Call(t.Context(), p, http.MethodPost, path, body, nil); err != nil {
		t.Fatal(err)
	}
	var latest struct {
		Version int64  `json:"version"`
		Data    string `json:"data"`
	}
	if err := Call(t.Context(), p, http.MethodGet, path, nil, &latest); err != nil {
		t.Fatal(err)
	}
	return &broker.Schema{Name: name, JSON: latest.Data, Version: latest.Version}
}

// Call makes an admin request; the path is below /admin/v2.
func Call(ctx context.Context, p broker.Admin, method, path string, body, out any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, p.AdminURL()+"/admin/v2"+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := p.HTTP().Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: HTTP %d %.300s", method, path, resp.StatusCode, answer)
	}
	if out == nil || len(answer) == 0 {
		return nil
	}
	return json.Unmarshal(answer, out)
}

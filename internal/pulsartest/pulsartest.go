// Package pulsartest gives each test a namespace of its own on a real Pulsar.
//
//	namespace := pulsartest.Namespace(t)   // "public/t-5f3c...", deleted with its topics afterwards
//	broker := pulsartest.URL(t)
//	admin := pulsartest.AdminURL(t)
//
// The server is the one in RUNNEL_PULSAR_URL and RUNNEL_PULSAR_ADMIN_URL.
// Without them tests are skipped, or fail when RUNNEL_TEST_SERVERS=required.
//
// It speaks only the admin REST interface and imports no Pulsar client. Start
// with Namespace.
package pulsartest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/testserver"
)

// requestTimeout bounds one admin request; deleting a namespace with many
// topics takes seconds on two cores.
const requestTimeout = 60 * time.Second

// URL returns the broker's service URL, or skips the test.
func URL(t testing.TB) string {
	t.Helper()
	return testserver.Address(t, testserver.Pulsar)
}

// AdminURL returns the base URL of the admin interface without a slash at its
// end, or skips the test.
func AdminURL(t testing.TB) string {
	t.Helper()
	return strings.TrimSuffix(testserver.Address(t, testserver.PulsarAdmin), "/")
}

// NamespaceName returns a fresh name, public/t-<random>, and deletes the
// namespace and all its topics when the test ends, if it exists by then.
func NamespaceName(t testing.TB) string {
	t.Helper()
	AdminURL(t) // skips before anything is made
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	namespace := "public/t-" + hex.EncodeToString(b[:])
	t.Cleanup(func() { remove(t, namespace) })
	return namespace
}

// Namespace creates a namespace with a fresh name and the broker's default
// policies. It and all its topics are deleted when the test ends.
func Namespace(t testing.TB) string {
	t.Helper()
	namespace := NamespaceName(t)
	Admin(t, http.MethodPut, "/admin/v2/namespaces/"+namespace, map[string]any{})
	return namespace
}

// Admin sends one request to the admin interface, with body as JSON unless it
// is nil, requires an answer of 2xx and returns its body.
func Admin(t testing.TB, method, path string, body any) []byte {
	t.Helper()
	status, answer, err := do(method, AdminURL(t)+path, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if status/100 != 2 {
		t.Fatalf("%s %s: status %d: %s", method, path, status, answer)
	}
	return answer
}

// remove deletes the namespace with what is in it. Producers that reconnect
// while it runs make the broker answer with a conflict, and compaction under way lets it time
// out after a minute: so it is repeated.
func remove(t testing.TB, namespace string) {
	path := "/admin/v2/namespaces/" + namespace
	deadline := time.NewTimer(2 * requestTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		status, answer, err := do(http.MethodDelete, AdminURL(t)+path+"?force=true", nil)
		if err == nil && status == http.StatusMethodNotAllowed { // forced deletion is not allowed there
			removeTopics(t, namespace)
			status, answer, err = do(http.MethodDelete, AdminURL(t)+path, nil)
		}
		if err == nil && (status/100 == 2 || status == http.StatusNotFound) {
			return
		}
		select {
		case <-deadline.C:
			t.Errorf("delete namespace %s: status %d: %s %v", namespace, status, answer, err)
			return
		case <-tick.C:
		}
	}
}

// removeTopics deletes the namespace's topics one by one. What fails is left
// to the caller's next try.
func removeTopics(t testing.TB, namespace string) {
	for _, kind := range []string{"/partitioned", ""} {
		status, answer, err := do(http.MethodGet, AdminURL(t)+"/admin/v2/persistent/"+namespace+kind, nil)
		var topics []string
		if err != nil || status != http.StatusOK || json.Unmarshal(answer, &topics) != nil {
			continue
		}
		for _, topic := range topics {
			path := strings.Replace(topic, "://", "/", 1) + strings.Replace(kind, "/partitioned", "/partitions", 1)
			_, _, _ = do(http.MethodDelete, AdminURL(t)+"/admin/v2/"+path+"?force=true", nil)
		}
	}
}

func do(method, url string, body any) (status int, answer []byte, err error) {
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		content = bytes.NewReader(data)
	}
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	// A connection of its own: a kept one would be a goroutine left behind to goleak.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err = io.ReadAll(io.LimitReader(response.Body, 16<<20))
	if err != nil {
		return 0, nil, fmt.Errorf("read the answer: %w", err)
	}
	return response.StatusCode, bytes.TrimSpace(answer), nil
}

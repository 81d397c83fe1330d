package schemas

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/runnel-cdc/runnel/internal/fault"
)

const someTopic = "persistent://public/runnel/order"

// answering is a registry that gives one answer to everything.
func answering(t *testing.T, status int, body string) *Registry {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return NewRegistry(server.URL+"/", server.Client())
}

func TestRegistryExplains(t *testing.T) {
	ctx := context.Background()
	schema := compose(t, "order", load(t, event("A", "")), nil)
	for _, c := range []struct {
		name   string
		status int
		body   string
		code   *fault.Code
		says   string
	}{
		{"no right", 403, `{"reason":"no permission\n\tat org.apache"}`, ErrRegistryForbidden, "403: no permission"},
		{"no token", 401, `<html>`, ErrRegistryForbidden, "401"},
		{"no namespace", 404, `{"reason":"Namespace not found"}`, ErrRegistryNotFound, "Namespace not found"},
		{"incompatible", 409, `<html>both schemas</html>`, ErrRegistryRefused, "409"},
		{"unparsable", 422, `<html>`, ErrRegistryRefused, "invalid default"},
		{"too large", 413, ``, ErrRegistryRefused, "413"},
		{"stack trace", 500, `{"reason":"\n --- An unexpected error occurred"}`, ErrRegistryUnreachable, "500"},
		{"not Pulsar", 200, `<html>welcome</html>`, ErrRegistryUnreachable, "not the registry's"},
		{"no version", 200, `{}`, ErrRegistryUnreachable, "names no version"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := answering(t, c.status, c.body).Register(ctx, someTopic, schema)
			wantFault(t, err, c.code, c.says, someTopic)
		})
	}
	other := compose(t, "order", load(t, event("B", "")), nil)
	for name, c := range map[string]struct {
		answer any
		code   *fault.Code
	}{
		"JSON schema":     {registered{Version: 3, Type: "JSON", Data: schema.JSON}, ErrNotATopicSchema},
		"another version": {registered{Version: 4, Type: "AVRO", Data: schema.JSON}, ErrRegistryMismatch},
		"foreign":         {registered{Version: 3, Type: "AVRO", Data: `"string"`}, ErrNotATopicSchema},
		"bad":             {registered{Version: 3, Type: "AVRO", Data: `{`}, ErrSyntax},
	} {
		t.Run(name, func(t *testing.T) {
			text, _ := json.Marshal(c.answer)
			_, err := answering(t, 200, string(text)).Version(ctx, someTopic, 3)
			wantFault(t, err, c.code, someTopic)
		})
	}
	t.Run("read back", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var answer any = registered{Version: 7, Type: "AVRO", Data: other.JSON}
			if r.Method == http.MethodPost {
				answer = map[string]any{"version": map[string]any{"version": 7}}
			}
			_ = json.NewEncoder(w).Encode(answer)
		}))
		defer server.Close()
		_, err := NewRegistry(server.URL, nil).Register(ctx, someTopic, schema)
		wantFault(t, err, ErrRegistryMismatch, "version 7")
		if version, err := NewRegistry(server.URL, nil).Register(ctx, someTopic, other); err != nil || version != 7 {
			t.Errorf("version %d, %v", version, err)
		}
	})
	if versions, err := answering(t, 404, `{"reason":"Schema not found"}`).Versions(ctx, someTopic); err != nil || len(versions) != 0 {
		t.Errorf("%v, %v", versions, err)
	}
	_, err := answering(t, 200, `{"getSchemaResponses":[{"version":0,"type":"AVRO","data":"{"}]}`).Versions(ctx, someTopic)
	wantFault(t, err, ErrSyntax, someTopic)
	for _, topic := range []string{"", "order", "persistent://a//b", "a/b/c/d"} {
		if _, err := answering(t, 200, `{}`).Versions(ctx, topic); err == nil {
			t.Errorf("the topic %q was accepted", topic)
		}
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	_, err = NewRegistry(gone.URL, nil).Versions(ctx, someTopic)
	wantFault(t, err, ErrRegistryUnreachable, someTopic)
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := NewRegistry(gone.URL, nil).Versions(canceled, someTopic); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

package broker

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// The last event of a topic counts; a policy for all clusters counts beside the
// cluster's own.
func TestPolicyEvents(t *testing.T) {
	limits := make(sizeLimits)
	event := func(action, topic, policies string) {
		t.Helper()
		text := fmt.Sprintf(`{"actionType":%q,"eventType":"TOPIC_POLICY","topicPoliciesEvent":
			{"domain":"persistent","tenant":"public","namespace":"runnel","topic":%q,"policies":%s}}`, action, topic, policies)
		if err := limits.apply([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(order, invoice int) {
		t.Helper()
		const namespace = "persistent://public/runnel/"
		if a, b := limits.of(namespace+"order"), limits.of(namespace+"invoice"); a != order || b != invoice {
			t.Errorf("%d and %d, want %d and %d", a, b, order, invoice)
		}
	}
	holds(0, 0)
	event("UPDATE", "order", `{"maxMessageSize":1000}`)
	event("UPDATE", "invoice", `{"maxMessageSize":null}`)
	holds(1000, 0)
	event("UPDATE", "order", `{"maxMessageSize":2000,"isGlobal":false}`)
	holds(2000, 0)
	event("UPDATE", "order", `{"maxMessageSize":1500,"isGlobal":true}`)
	event("UPDATE", "invoice", `{"maxMessageSize":9,"isGlobal":true}`)
	holds(1500, 9)
	event("UPDATE", "order", `{"maxMessageSize":100}`)
	holds(100, 9)
	event("UPDATE", "order", `{}`)
	holds(1500, 9)
	event("DELETE", "order", `null`)
	event("INSERT", "invoice", `{"maxMessageSize":0,"isGlobal":true}`)
	holds(0, 0)
	if err := limits.apply([]byte(`{"eventType":"TRANSACTION_BUFFER_SNAPSHOT","topicPoliciesEvent":null}`)); err != nil {
		t.Error(err)
	}
	if err := limits.apply([]byte(`[]`)); err == nil {
		t.Error("an event of another form was taken")
	}
}

// A limit that cannot be known is not guessed.
func TestUnknownLimit(t *testing.T) {
	for name, tc := range map[string]struct {
		status  int
		answer  string // of the log's partitions
		want    error
		largest int
	}{
		"no topic has policies": {http.StatusNotFound, `{"reason":"not found"}`, nil, 1000},
		"a log of another form": {http.StatusOK, `{"partitions":3,"lastConfirmedEntry":7}`, ErrWrongServer, 0},
		"nothing may be read":   {http.StatusForbidden, ``, ErrForbidden, 0},
		"the broker is ill":     {http.StatusInternalServerError, ``, ErrAdmin, 0},
	} {
		asked := 0
		p, _ := restOf(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/maxMessageSize") {
				asked++
				w.WriteHeader(http.StatusForbidden)
				return
			}
			w.WriteHeader(tc.status)
			_, _ = io.WriteString(w, tc.answer)
		}, Config{})
		for range 3 {
			n, err := p.MaxMessageSize(t.Context(), "persistent://public/runnel/order")
			if !errors.Is(err, tc.want) || n != tc.largest {
				t.Errorf("%s: %d, %v", name, n, err)
			}
		}
		if tc.want == nil && asked != 1 {
			t.Errorf("%s: forbidden things were asked for %d times", name, asked)
		}
	}
}

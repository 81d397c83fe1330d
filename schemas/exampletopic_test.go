package schemas_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/runnel-cdc/runnel/schemas"
)

const (
	paid = `{"type": "record", "name": "Paid", "aggregate": "order", "fields": [
	  {"name": "order_id", "type": "string"}]}`
	// As Paid becomes: a field more, with a default.
	paidNow = `{"type": "record", "name": "Paid", "aggregate": "order", "fields": [
	  {"name": "order_id", "type": "string"}, {"name": "method", "type": "string", "default": "CARD"}]}`
	delivered = `{"type": "record", "name": "Delivered", "aggregate": "order", "fields": [
	  {"name": "order_id", "type": "string"}]}`
)

// A topic's schema is composed of its events. What was registered keeps its
// place, so that readers with an older version go on reading.
func ExampleCompose() {
	first, err := schemas.Compose("order", []*schemas.EventType{schemas.MustEventType(paid)}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	second, err := schemas.Compose("order", []*schemas.EventType{
		schemas.MustEventType(delivered), schemas.MustEventType(paidNow),
	}, first)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, t := range []*schemas.TopicSchema{first, second} {
		for _, branch := range t.Events() {
			event, _ := t.Event(branch.Name)
			fmt.Println(t.Name, "branch", branch.Index, branch.Name, "with", len(event.Schema.Fields), "fields")
		}
	}

	_, err = schemas.Compose("invoice", []*schemas.EventType{
		schemas.MustEventType(paid), schemas.MustEventType(paidNow),
	}, nil)
	fmt.Println(errors.Is(err, schemas.ErrSchemaConflict))
	// Output:
	// runnel.order_event branch 0 Paid with 1 fields
	// runnel.order_event branch 0 Paid with 2 fields
	// runnel.order_event branch 1 Delivered with 1 fields
	// true
}

// Pulsar's registry keeps a topic's schemas by version; a message names its own.
func ExampleRegistry() {
	pulsar := httptest.NewServer(registry()) // in earnest http://127.0.0.1:8080
	defer pulsar.Close()
	ctx := context.Background()
	r := schemas.NewRegistry(pulsar.URL, pulsar.Client())
	const topic = "persistent://public/runnel/order"

	composed, err := schemas.Compose("order", []*schemas.EventType{schemas.MustEventType(paid)}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	version, err := r.Register(ctx, topic, composed)
	fmt.Println("registered as version", version, err)

	all, err := r.Versions(ctx, topic)
	fmt.Println(len(all), all[0].Name, err)

	_, err = r.Version(ctx, topic, 7)
	fmt.Println(errors.Is(err, schemas.ErrRegistryNotFound))
	// Output:
	// registered as version 0 <nil>
	// 1 runnel.order_event <nil>
	// true
}

// registry answers as Pulsar does, for one topic that gets one schema.
func registry() http.Handler {
	type schema struct {
		Version int64  `json:"version"`
		Type    string `json:"type"`
		Data    string `json:"data"`
	}
	var only schema
	const of = "/admin/v2/schemas/public/runnel/order/"
	answer := func(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+of+"schema", func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Type, Schema string }
		_ = json.NewDecoder(r.Body).Decode(&body)
		only = schema{0, body.Type, body.Schema}
		answer(w, map[string]any{"version": map[string]int64{"version": 0}})
	})
	mux.HandleFunc("GET "+of+"schema/0", func(w http.ResponseWriter, _ *http.Request) { answer(w, only) })
	mux.HandleFunc("GET "+of+"schemas", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"getSchemaResponses": []schema{only}})
	})
	return mux
}

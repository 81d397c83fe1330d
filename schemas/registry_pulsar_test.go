package schemas

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// pulsarNamespace makes a namespace of the test's own with Runnel's policies.
func pulsarNamespace(t *testing.T) (admin, namespace string) {
	t.Helper()
	admin = strings.TrimRight(os.Getenv("RUNNEL_PULSAR_ADMIN_URL"), "/")
	if admin == "" {
		if os.Getenv("RUNNEL_TEST_SERVERS") == "required" {
			t.Fatal("RUNNEL_PULSAR_ADMIN_URL is not set")
		}
		t.Skip("needs RUNNEL_PULSAR_ADMIN_URL")
	}
	namespace = fmt.Sprintf("public/schemas-%x", time.Now().UnixNano())
	path := "/admin/v2/namespaces/" + namespace
	adminCall(t, http.MethodPut, admin+path, "", 204)
	t.Cleanup(func() { adminCall(t, http.MethodDelete, admin+path, "", 204) })
	adminCall(t, http.MethodPut, admin+path+"/schemaCompatibilityStrategy", `"ALWAYS_COMPATIBLE"`, 204)
	adminCall(t, http.MethodPost, admin+path+"/isAllowAutoUpdateSchema", `false`, 204)
	adminCall(t, http.MethodPost, admin+path+"/schemaValidationEnforced", `true`, 204)
	return admin, namespace
}

func adminCall(t *testing.T, method, url, body string, want int) {
	t.Helper()
	request, err := http.NewRequest(method, url, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != want {
		t.Errorf("%s %s: %s", method, url, response.Status)
	}
}

func TestRegistryOfPulsar(t *testing.T) {
	admin, namespace := pulsarNamespace(t)
	topic := "persistent://" + namespace + "/order"
	adminCall(t, http.MethodPut, admin+"/admin/v2/persistent/"+namespace+"/order/partitions", "2", 204)
	t.Cleanup(func() {
		adminCall(t, http.MethodDelete, admin+"/admin/v2/persistent/"+namespace+"/order/partitions?force=true", "", 204)
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r := NewRegistry(admin, &http.Client{Timeout: 20 * time.Second})

	if versions, err := r.Versions(ctx, topic); err != nil || len(versions) != 0 {
		t.Fatalf("a new topic has %v (%v)", versions, err)
	}
	_, err := r.Version(ctx, topic, 0)
	wantFault(t, err, ErrRegistryNotFound, topic)
	_, err = r.Register(ctx, "persistent://public/no-such-namespace/order", compose(t, "order", load(t, event("A", "")), nil))
	wantFault(t, err, ErrRegistryNotFound)

	catalog := eventsOf(sampleCatalog(t), "order")
	history := []*TopicSchema{compose(t, "order", catalog[:2], nil)}
	history = append(history, compose(t, "order", catalog, history[0])) // a branch is added
	// Only an alias changes: the registry must take that for a new version, or rows
	// encoded under it would have no schema to go out with.
	changed, err := ParseEventType(strings.Replace(catalog[0].JSON, `"name":"reason"`, `"aliases":["why"],"name":"reason"`, 1))
	if err != nil || changed.Fingerprint == catalog[0].Fingerprint {
		t.Fatal(err)
	}
	history = append(history, compose(t, "order", append([]*EventType{changed}, catalog[1:]...), history[1]))
	for i, s := range history {
		for range 2 { // the second time is answered with the same version
			if version, err := r.Register(ctx, topic, s); err != nil || version != int64(i) {
				t.Fatalf("registered %d as %d (%v)", i, version, err)
			}
		}
	}
	// Docs alone are no change, as Equal says.
	documented := *changed.Schema
	documented.Doc = "some words"
	withDoc := *changed
	withDoc.Schema = &documented
	same := compose(t, "order", append([]*EventType{&withDoc}, catalog[1:]...), history[2])
	if version, err := r.Register(ctx, topic, same); err != nil || version != 2 || !same.Equal(history[2]) || same.JSON == history[2].JSON {
		t.Errorf("documented: version %d (%v)", version, err)
	}
	versions, err := r.Versions(ctx, topic)
	if err != nil || len(versions) != 3 {
		t.Fatalf("versions %v (%v)", versions, err)
	}
	for i, v := range versions {
		if v.Version != int64(i) || !v.Equal(history[i]) || v.JSON != history[i].JSON {
			t.Errorf("%s is not what was registered", v)
		}
		for k, b := range v.Events() {
			if b != history[i].Events()[k] {
				t.Errorf("%s: branch %v, want %v", v, b, history[i].Events()[k])
			}
		}
	}
	if v, err := r.Version(ctx, topic, 1); err != nil || !v.Equal(history[1]) {
		t.Errorf("version 1: %v (%v)", v, err)
	}
	codec, err := NewTopicCodec(versions)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []*EventType{catalog[0], changed} {
		data, err := AppendJSONToAvro(nil, e.Schema, []byte(`{"order_id":"0190163d-8694-739b-aea5-966c26f8ad91","reason":"late","cancelled_at":0}`))
		if err != nil {
			t.Fatal(err)
		}
		_, v, err := codec.AppendAvro(nil, e.Name, e.Fingerprint, data)
		want := int64(1)
		if e == changed {
			want = 2
		}
		if err != nil || v.Version != want {
			t.Errorf("%s goes out under %v, want version %d (%v)", e.Fingerprint, v, want, err)
		}
	}

	// What somebody else registers takes a number, and nothing more.
	adminCall(t, http.MethodPost, admin+"/admin/v2/schemas/"+namespace+"/order/schema", `{"type":"STRING","schema":"","properties":{}}`, 200)
	h, err := r.History(ctx, topic)
	if err != nil || len(h.Versions) != 3 || len(h.Others) != 1 || h.Others[0].Version != 3 || !errors.Is(h.Others[0].Err, ErrNotATopicSchema) || h.Next != 4 {
		t.Errorf("with a schema of another kind: %+v, %v", h, err)
	}
	next := compose(t, "order", append([]*EventType{changed}, catalog[1:]...), nil)
	if next, err = next.Revised(4); err != nil {
		t.Fatal(err)
	}
	if version, err := r.Register(ctx, topic, next); err != nil || version != h.Next {
		t.Errorf("version %d (%v), want %d", version, err, h.Next)
	}
	// After all of it was deleted, numbers go on.
	adminCall(t, http.MethodDelete, admin+"/admin/v2/schemas/"+namespace+"/order/schema", "", 200)
	if h, err := r.History(ctx, topic); err != nil || len(h.Versions)+len(h.Others) != 0 {
		t.Errorf("deleted: %+v (%v)", h, err)
	} else {
		t.Logf("deleted: %+v", h)
	}
	version, err := r.Register(ctx, topic, history[0])
	if h, herr := r.History(ctx, topic); err != nil || herr != nil || len(h.Versions) != 1 || h.Versions[0].Version != version {
		t.Errorf("after a deletion: version %d (%v), %+v (%v)", version, err, h, herr)
	} else {
		t.Logf("after a deletion: %+v", h)
	}
}

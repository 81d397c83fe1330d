package memory_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestRegistry(t *testing.T) {
	b := shop(t)
	defer b.Close()
	hc := b.HTTP()
	base := b.AdminURL() + "/admin/v2/schemas/public/shop/order"
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/schema", "", 404, `{"reason":"Schema not found"}`},
		{"GET", "/schemas", "", 200, `{"getSchemaResponses":[]}`},
		{"POST", "/schema", `{"type":"AVRO","schema":"{\"name\":\"E\"}"}`, 200, `{"version":{"version":0}}`},
		{"POST", "/schema", `{"type":"AVRO","schema":"{\"name\":\"E\"}"}`, 200, `{"version":{"version":0}}`},
		{"POST", "/schema", `{"type":"AVRO","schema":"{\"name\":\"E2\"}"}`, 200, `{"version":{"version":1}}`},
		{"POST", "/schema", `{"type":"AVRO","schema":"{"}`, 422, ``},
		{"POST", "/version", `{"type":"AVRO","schema":"{\"name\":\"E2\"}"}`, 200, `{"version":1}`},
		{"POST", "/version", `{"type":"AVRO","schema":"{}"}`, 200, `{"version":-1}`},
		{"POST", "/compatibility", `{"type":"AVRO","schema":"{}"}`, 202, `"compatibility":true`},
		{"GET", "/schema", "", 200, `"data":"{\"name\":\"E2\"}"`},
		{"GET", "/schema/0", "", 200, `"data":"{\"name\":\"E\"}"`},
		{"GET", "/schema/2", "", 404, ``},
		{"GET", "/schema/x", "", 404, ``},
		{"GET", "/schemas", "", 200, `"version":1`},
		{"GET", "", "", 404, ``},
		{"POST", "/other", `{"schema":"{}"}`, 404, ``},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, base+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := hc.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || !strings.Contains(string(body), c.want) {
			t.Errorf("%s %s %s: %d %s, %v", c.method, c.path, c.body, resp.StatusCode, body, err)
		}
	}
	if all := b.Schemas(topicName); len(all) != 2 || all[1].Name != "E2" {
		t.Errorf("%+v", all)
	}
}

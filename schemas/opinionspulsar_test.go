package schemas

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/pulsartest"
)

// Pulsar's registry: the writer's schema is registered, then the reader's is
// checked against it under BACKWARD, where the new schema has to read data of the
// last. What is no record becomes a field of one, for Pulsar takes nothing else.
// To look whether the opinions are current, some pairs are enough.
func TestOpinionsOfPulsar(t *testing.T) {
	namespace := pulsartest.Namespace(t)
	pulsartest.Admin(t, http.MethodPut, "/admin/v2/namespaces/"+namespace+"/schemaCompatibilityStrategy", "BACKWARD")
	client := &http.Client{Timeout: time.Minute}
	t.Cleanup(client.CloseIdleConnections)
	url := pulsartest.AdminURL(t) + "/admin/v2/schemas/" + namespace + "/pair/"
	post := func(method, what, schema string) (int, string) {
		body, err := json.Marshal(map[string]any{"type": "AVRO", "schema": schema, "properties": map[string]string{}})
		if err != nil {
			t.Fatal(err)
		}
		request, err := http.NewRequestWithContext(t.Context(), method, url+what, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	pairs, said := readCorpus(t), recorded{}
	all := os.Getenv("UPDATE_GOLDEN") != ""
	for i, p := range pairs {
		if !all && i%10 != 0 {
			continue
		}
		reader, writer := p.parse(t)
		wrap := reader.Type != Record || writer.Type != Record
		r, w := record(p.reader, wrap), record(p.writer, wrap)
		if status, text := post(http.MethodPost, "schema", w); status != http.StatusOK {
			t.Logf("%s: the writer's: %d %.300s", p.where(), status, text)
			said[p.name] = []opinion{saysUnparsable}
			continue
		}
		switch status, text := post(http.MethodPost, "compatibility", r); {
		case strings.Contains(text, `"compatibility":true`):
			said[p.name] = []opinion{saysCompatible}
		case strings.Contains(text, `"compatibility":false`), strings.Contains(text, "IncompatibleSchema"):
			said[p.name] = []opinion{saysIncompatible}
		case strings.Contains(text, "InvalidSchemaData"):
			said[p.name] = []opinion{saysUnparsable}
		default:
			t.Logf("%s: the reader's: %d %.300s", p.where(), status, text)
			said[p.name] = []opinion{saysError}
		}
		if status, text := post(http.MethodDelete, "schema?force=true", w); status/100 != 2 {
			t.Fatalf("%s: %d %.300s", p.where(), status, text)
		}
		if testing.Verbose() {
			if spec := bySpecification(Compatibility(reader, writer)); spec.differs(said[p.name][0]) {
				t.Logf("%s: %s; %s", p.where(), spec, said[p.name][0])
			}
		}
	}
	keepOpinions(t, "pulsar", pairs, all, said)
}

// record makes a schema the field of a record, if asked.
func record(schema string, wrap bool) string {
	if !wrap {
		return schema
	}
	return `{"type":"record","name":"Wrapped","fields":[{"name":"value","type":` + schema + `}]}`
}

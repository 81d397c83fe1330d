package memory

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/runnel-cdc/runnel/internal/broker"
)

// registry answers the requests of Pulsar's schema registry that Runnel makes:
//
//	GET  /admin/v2/schemas/<tenant>/<namespace>/<topic>/schemas
//	GET  .../schema, .../schema/<version>
//	POST .../schema, .../version, .../compatibility
//
// Everything is compatible, as under ALWAYS_COMPATIBLE.
type registry struct{ b *Broker }

type registered struct {
	Version    int64             `json:"version"`
	Type       string            `json:"type"`
	Timestamp  int64             `json:"timestamp"`
	Data       string            `json:"data"`
	Properties map[string]string `json:"properties"`
}

// RoundTrip implements http.RoundTripper.
func (r registry) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	var body []byte
	if req.Body != nil {
		defer func() { _ = req.Body.Close() }()
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
	}
	status, answer := r.answer(req.Method, req.URL.Path, body)
	data, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, ContentLength: int64(len(data)),
		Body: io.NopCloser(bytes.NewReader(data)), Request: req,
	}, nil
}

func (r registry) answer(method, path string, body []byte) (int, any) {
	notFound := map[string]string{"reason": "Schema not found"}
	parts := strings.Split(strings.TrimPrefix(path, "/admin/v2/schemas/"), "/")
	if len(parts) < 4 {
		return http.StatusNotFound, notFound
	}
	topic := "persistent://" + strings.Join(parts[:3], "/")
	all := []registered{}
	for _, s := range r.b.Schemas(topic) {
		all = append(all, registered{s.Version, "AVRO", 0, s.JSON, map[string]string{}})
	}
	if method == http.MethodPost {
		return r.post(topic, parts[3], body, all)
	}
	switch {
	case parts[3] == "schemas":
		return http.StatusOK, map[string]any{"getSchemaResponses": all}
	case len(all) == 0:
		return http.StatusNotFound, notFound
	case len(parts) == 4:
		return http.StatusOK, all[len(all)-1]
	}
	version, err := strconv.Atoi(parts[4])
	if err != nil || version < 0 || version >= len(all) {
		return http.StatusNotFound, notFound
	}
	return http.StatusOK, all[version]
}

func (r registry) post(topic, what string, body []byte, all []registered) (int, any) {
	var in struct {
		Type   string `json:"type"`
		Schema string `json:"schema"`
	}
	if err := json.Unmarshal(body, &in); err != nil || !json.Valid([]byte(in.Schema)) {
		return http.StatusUnprocessableEntity, map[string]string{"reason": "Invalid schema definition data"}
	}
	switch what {
	case "version":
		for _, s := range all {
			if s.Data == in.Schema {
				return http.StatusOK, map[string]int64{"version": s.Version}
			}
		}
		return http.StatusOK, map[string]int64{"version": -1}
	case "compatibility":
		return http.StatusAccepted, map[string]any{"schemaCompatibilityStrategy": "ALWAYS_COMPATIBLE", "compatibility": true}
	case "schema":
		var name struct {
			Name string `json:"name"`
		}
		_ = json.Unmarshal([]byte(in.Schema), &name) // a union has no name
		s, err := r.b.RegisterSchema(topic, name.Name, in.Schema)
		if err != nil {
			return http.StatusNotFound, map[string]string{"reason": broker.ErrTopicMissing.Cause}
		}
		return http.StatusOK, map[string]any{"version": map[string]int64{"version": s.Version}}
	}
	return http.StatusNotFound, map[string]string{"reason": "HTTP 404 Not Found"}
}

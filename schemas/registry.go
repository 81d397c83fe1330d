package schemas

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sort"
	"strings"

	"github.com/runnel-cdc/runnel/internal/fault"
)

// maxRegistryBytes bounds an answer: all versions of a topic's schema.
const maxRegistryBytes = 256 << 20

// Registry is Pulsar's schema registry, through the broker's admin REST
// interface. It is safe for concurrent use.
type Registry struct {
	base string
	hc   *http.Client
}

// NewRegistry returns the registry at adminURL (http://host:8080). Credentials
// and TLS are hc's; so are time limits, besides those of the contexts.
func NewRegistry(adminURL string, hc *http.Client) *Registry {
	if hc == nil {
		hc = http.DefaultClient
	}
	return &Registry{base: strings.TrimRight(adminURL, "/") + "/admin/v2/schemas/", hc: hc}
}

// registered is a version as the REST interface returns it.
type registered struct {
	Version int64  `json:"version"`
	Type    string `json:"type"`
	Data    string `json:"data"`
}

// TopicHistory is all that is registered of a topic's schema.
type TopicHistory struct {
	Versions []*TopicSchema // those that are a topic's, oldest first
	Others   []OtherVersion // by number
	// Next is the number that the next version gets; -1 when nothing is registered:
	// it is 0 then, unless a history was deleted.
	Next int64
}

// OtherVersion is a version that is not a topic's schema of Runnel's: nothing of
// Runnel's is published under it.
type OtherVersion struct {
	Version int64
	Err     error // ErrNotATopicSchema, or what is wrong with the text
}

// Versions returns the versions of History. Those that are not a topic's count only
// when there is no other: then the first one's error is returned.
func (r *Registry) Versions(ctx context.Context, topic string) ([]*TopicSchema, error) {
	h, err := r.History(ctx, topic)
	if err == nil && len(h.Versions) == 0 && len(h.Others) > 0 {
		err = h.Others[0].Err
	}
	return h.Versions, err
}

// History returns all versions of a topic's schema; none for a topic without
// schema, or that does not exist. The topic is persistent://tenant/namespace/name,
// without a partition.
//
// Errors: ErrRegistryUnreachable, ErrRegistryForbidden.
func (r *Registry) History(ctx context.Context, topic string) (TopicHistory, error) {
	h := TopicHistory{Next: -1}
	var answer struct {
		Responses []registered `json:"getSchemaResponses"`
	}
	err := r.call(ctx, http.MethodGet, topic, "schemas", nil, &answer)
	if errors.Is(err, ErrRegistryNotFound) {
		return h, nil
	}
	if err != nil {
		return h, err
	}
	sort.SliceStable(answer.Responses, func(i, j int) bool { return answer.Responses[i].Version < answer.Responses[j].Version })
	for _, v := range answer.Responses {
		h.Next = v.Version + 1
		if v.Data == "" && (v.Type == "" || v.Type == "NONE") {
			continue // the mark that a deletion leaves
		}
		if t, err := v.parse(topic); err != nil {
			h.Others = append(h.Others, OtherVersion{v.Version, err})
		} else {
			h.Versions = append(h.Versions, t)
		}
	}
	return h, nil
}

// Version returns one version of a topic's schema: the one a message names. A
// version never changes, so the result can be kept. It returns
// ErrRegistryNotFound when there is none.
func (r *Registry) Version(ctx context.Context, topic string, version int64) (*TopicSchema, error) {
	var answer registered
	if err := r.call(ctx, http.MethodGet, topic, fmt.Sprintf("schema/%d", version), nil, &answer); err != nil {
		return nil, err
	}
	if answer.Version != version {
		return nil, ErrRegistryMismatch.New("asked for version %d, got %d", version, answer.Version).At("%s", topic)
	}
	return answer.parse(topic)
}

// Register registers t as the topic's schema, reads it back and returns its
// version. That is an old version when an Equal schema is registered already: to
// register an old one again does not make it the newest.
//
// Register is idempotent. The broker lets it pass whatever isAllowAutoUpdateSchema
// says, and judges it by the topic's compatibility strategy, which for Runnel's
// topics is ALWAYS_COMPATIBLE: the check is the caller's.
//
// Errors: as Versions, and ErrRegistryRefused, ErrRegistryNotFound,
// ErrRegistryMismatch.
func (r *Registry) Register(ctx context.Context, topic string, t *TopicSchema) (version int64, err error) {
	body := struct {
		Type       string            `json:"type"`
		Schema     string            `json:"schema"`
		Properties map[string]string `json:"properties"`
	}{"AVRO", t.JSON, map[string]string{}}
	var answer struct {
		Version json.RawMessage `json:"version"`
	}
	if err := r.call(ctx, http.MethodPost, topic, "schema", body, &answer); err != nil {
		return 0, err
	}
	if version, err = registeredVersion(answer.Version); err != nil {
		return 0, ErrRegistryUnreachable.Wrap(err, "registering: the answer names no version").At("%s", topic)
	}
	back, err := r.Version(ctx, topic, version)
	if err != nil {
		return 0, err
	}
	if !t.Equal(back) {
		return 0, ErrRegistryMismatch.New("version %d is not the schema just registered", version).At("%s", topic)
	}
	return version, nil
}

// registeredVersion reads {"version":N}, as 4.0 answers, or N.
func registeredVersion(raw json.RawMessage) (int64, error) {
	var wrapped struct {
		Version *int64 `json:"version"`
	}
	if err := json.Unmarshal(raw, &wrapped); err == nil && wrapped.Version != nil {
		return *wrapped.Version, nil
	}
	var version int64
	err := json.Unmarshal(raw, &version)
	return version, err
}

func (v registered) parse(topic string) (*TopicSchema, error) {
	where := fmt.Sprintf("%s version %d", topic, v.Version)
	if v.Type != "AVRO" {
		return nil, ErrNotATopicSchema.New("the registered schema is of type %s", v.Type).At("%s", where)
	}
	t, err := ParseTopicSchema(v.Data, v.Version)
	if f := fault.Find(err); f != nil {
		return nil, f.Code.Wrap(err, "in the registry").At("%s", where)
	}
	return t, err
}

// call sends one request and decodes the answer.
func (r *Registry) call(ctx context.Context, method, topic, what string, body, answer any) error {
	address, err := r.address(topic, what)
	if err != nil {
		return err
	}
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("schemas: encoding the request: %w", err)
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, address, reader)
	if err != nil {
		return ErrRegistryUnreachable.Wrap(err, "the address %s cannot be used", r.base)
	}
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := r.hc.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return ErrRegistryUnreachable.Wrap(err, "%s %s", method, r.base).At("%s", topic)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxRegistryBytes+1))
	if err != nil {
		return ErrRegistryUnreachable.Wrap(err, "reading the answer").At("%s", topic)
	}
	if len(text) > maxRegistryBytes {
		return ErrRegistryUnreachable.New("the answer is longer than %d bytes", maxRegistryBytes).At("%s", topic)
	}
	if response.StatusCode != http.StatusOK {
		return refusal(response.StatusCode, text, what).At("%s", topic)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return ErrRegistryUnreachable.Wrap(err, "the answer is not the registry's").At("%s", topic)
	}
	return nil
}

func (r *Registry) address(topic, what string) (string, error) {
	path := topic
	if i := strings.Index(topic, "://"); i >= 0 {
		path = topic[i+3:]
	}
	parts := strings.Split(path, "/")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return "", fmt.Errorf("schemas: %q is not a topic of the form persistent://tenant/namespace/name", topic)
	}
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return r.base + strings.Join(parts, "/") + "/" + what, nil
}

// refusal explains a status. The bodies hold stack traces and both schemas in
// full, never a cause; only a short reason is passed on.
func refusal(status int, body []byte, what string) *fault.Error {
	var answer struct {
		Reason string `json:"reason"`
	}
	detail := ""
	if json.Unmarshal(body, &answer) == nil && strings.TrimSpace(answer.Reason) != "" {
		line, _, _ := strings.Cut(strings.TrimSpace(answer.Reason), "\n") // of a stack, that begins with an empty line
		detail = ": " + clip(line)
	}
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrRegistryForbidden.New("the broker answered %d%s", status, detail)
	case http.StatusNotFound:
		return ErrRegistryNotFound.New("the broker answered 404 to %s%s", what, detail)
	case http.StatusConflict:
		return ErrRegistryRefused.New("the broker finds the schema incompatible with a version it holds (409)")
	case http.StatusUnprocessableEntity:
		return ErrRegistryRefused.New("the broker cannot parse the schema, or one registered before it (422)").
			Fix("look at the topic's registered versions: one with an invalid default blocks all later ones; its history can only be deleted as a whole")
	case http.StatusRequestEntityTooLarge:
		return ErrRegistryRefused.New("the schema is larger than the broker accepts (413)").Fix("Spread the events over several topics by routes.")
	}
	return ErrRegistryUnreachable.New("the broker answered %d%s", status, detail)
}

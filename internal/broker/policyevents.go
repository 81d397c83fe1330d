package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/schemas"
)

// policyLog is the local name of the topic in which a broker keeps the policies
// of a namespace's topics, as events in Avro.
const policyLog = "__change_events"

// policyEvents keeps what the policy logs of namespaces say of message sizes.
// Only a tenant's administrator may ask for a topic's policies; whoever may
// consume in the namespace may read this log, as the brokers themselves do.
type policyEvents struct {
	mu         sync.Mutex // held while reading: one read serves all who ask
	namespaces map[string]*policyState
	writers    map[string]*schemas.Schema // by namespace and version

	forbidden sync.Map // namespaces (string) whose policies this connection may not ask for
}

// instead reports whether to read the log of a namespace without asking first:
// every refusal is a stack trace in the broker's log.
func (e *policyEvents) instead(namespace string) bool {
	_, yes := e.forbidden.Load(namespace)
	return yes
}

func (e *policyEvents) useInstead(namespace string) { e.forbidden.Store(namespace, true) }

// policyState is one namespace's log, read to its end.
type policyState struct {
	ends   []string // the last entry of each partition, as internalStats names it
	limits sizeLimits
}

// sizeLimits are the topics' own maxMessageSize, by the event's key. A topic may
// have two: one for this cluster, and one for all.
type sizeLimits map[sizeKey]int

type sizeKey struct {
	topic  string
	global bool
}

// of returns the smaller of a topic's limits, in bytes; 0 when it has none.
func (l sizeLimits) of(topic string) int {
	local, global := l[sizeKey{topic, false}], l[sizeKey{topic, true}]
	if local == 0 || (global != 0 && global < local) {
		return global
	}
	return local
}

// policyEvent is the part of an event that matters.
type policyEvent struct {
	Action string `json:"actionType"`
	Event  *struct {
		Domain    string `json:"domain"`
		Tenant    string `json:"tenant"`
		Namespace string `json:"namespace"`
		Topic     string `json:"topic"`
		Policies  *struct {
			Global         bool `json:"isGlobal"`
			MaxMessageSize *int `json:"maxMessageSize"`
		} `json:"policies"`
	} `json:"topicPoliciesEvent"`
}

// apply lets an event, in JSON, change the limits.
func (l sizeLimits) apply(event []byte) error {
	var e policyEvent
	if err := json.Unmarshal(event, &e); err != nil {
		return err
	}
	if e.Event == nil {
		return nil // of another kind
	}
	topic := fmt.Sprintf("%s://%s/%s/%s", e.Event.Domain, e.Event.Tenant, e.Event.Namespace, e.Event.Topic)
	key := sizeKey{topic: topic}
	switch {
	case e.Action == "DELETE", e.Event.Policies == nil:
		delete(l, key)
		delete(l, sizeKey{topic, true})
		return nil
	case e.Event.Policies.Global:
		key.global = true
	}
	delete(l, key)
	if size := e.Event.Policies.MaxMessageSize; size != nil && *size > 0 {
		l[key] = *size
	}
	return nil
}

// loggedMaxMessageSize is MaxMessageSize by the log of a namespace. When that
// cannot be made sense of the limit is unknown, and publishing could leave a hole
// at a message beyond it: ErrForbidden.
func (p *Pulsar) loggedMaxMessageSize(ctx context.Context, topic string) (int, error) {
	limit, err := p.loggedLimit(ctx, topic)
	switch {
	case err == nil && limit > 0:
		return min(limit, p.maxMessageSize), nil
	case err == nil:
		return p.maxMessageSize, nil
	case errors.Is(err, ErrForbidden):
		return 0, ErrForbidden.Wrap(err, "asking for the largest message of %s", topic)
	case fault.Find(err) != nil || ctx.Err() != nil:
		return 0, err
	}
	return 0, ErrForbidden.Wrap(err, "whether a policy of the topic limits its messages is not known to this role").At("%s", topic).
		Fix("Give the role the tenant's administration, which may ask for policies.")
}

// loggedLimit returns a topic's own maxMessageSize in bytes, 0 when it has none.
// The log is read only when it grew.
func (p *Pulsar) loggedLimit(ctx context.Context, topic string) (int, error) {
	namespace, _ := splitTopic(topic)
	log := "persistent://" + namespace + "/" + policyLog
	n, err := p.Partitions(ctx, log)
	switch {
	case errors.Is(err, ErrTopicMissing):
		return 0, nil // no topic ever had a policy of its own
	case err != nil:
		return 0, err
	}
	// Partitioned where a cluster makes its automatic topics so. All events of a
	// topic lie in one partition then, by their key.
	parts := []string{log}
	if n > 0 {
		parts = parts[:0]
	}
	for i := range n {
		parts = append(parts, Partition{log, i}.String())
	}
	ends, err := p.logEnds(ctx, parts, n > 0)
	if err != nil {
		return 0, err
	}
	p.events.mu.Lock()
	defer p.events.mu.Unlock()
	state := p.events.namespaces[namespace]
	if state == nil || !slices.Equal(state.ends, ends) {
		limits := make(sizeLimits)
		for i, part := range parts {
			if ends[i] == "" {
				continue
			}
			if err := p.readPolicyLog(ctx, namespace, part, limits); err != nil {
				return 0, err
			}
		}
		state = &policyState{ends, limits}
		if p.events.namespaces == nil {
			p.events.namespaces = make(map[string]*policyState)
		}
		p.events.namespaces[namespace] = state
	}
	return state.limits.of(topic), nil
}

// logEnds returns the last entry of each part, "" of one that is not there:
// partitions may be made when they are first written to.
func (p *Pulsar) logEnds(ctx context.Context, parts []string, partitioned bool) ([]string, error) {
	ends := make([]string, len(parts))
	for i, part := range parts {
		path, err := topicPath(part)
		if err != nil {
			return nil, err
		}
		var stats struct {
			Last string `json:"lastConfirmedEntry"`
		}
		_, err = p.rest.call(ctx, http.MethodGet, path+"/internalStats", nil, &stats)
		if err != nil && !(partitioned && status(err) == http.StatusNotFound) {
			return nil, err
		}
		ends[i] = stats.Last
	}
	return ends, nil
}

// readPolicyLog reads a log, or a partition of one, to its end.
func (p *Pulsar) readPolicyLog(ctx context.Context, namespace, log string, limits sizeLimits) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.OperationTimeout)
	defer cancel()
	r, err := p.startReader(ctx, Partition{Topic: log}, Start{}, pulsar.ReaderOptions{Topic: log, ReadCompacted: true})
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		more, err := r.HasNext(ctx)
		if err != nil || !more {
			return err
		}
		m, err := r.Next(ctx)
		if err != nil {
			return err
		}
		if err := p.applyPolicy(ctx, namespace, limits, m); err != nil {
			return fmt.Errorf("%s: message %s: %w", log, m.ID, err)
		}
	}
}

// applyPolicy decodes one message of a log.
func (p *Pulsar) applyPolicy(ctx context.Context, namespace string, limits sizeLimits, m *Incoming) error {
	if len(m.Payload) == 0 { // what is left of a deleted one
		topic := m.Key
		delete(limits, sizeKey{topic, false})
		delete(limits, sizeKey{topic, true})
		return nil
	}
	writer, err := p.policySchema(ctx, namespace, m.SchemaVersion)
	if err != nil {
		return err
	}
	event, err := schemas.AppendAvroToJSON(nil, writer, m.Payload)
	if err != nil {
		return errors.New("it cannot be read: " + err.Error())
	}
	return limits.apply(event)
}

// policySchema returns the schema that a message of a log was written with.
func (p *Pulsar) policySchema(ctx context.Context, namespace string, version int64) (*schemas.Schema, error) {
	key := fmt.Sprintf("%s %d", namespace, version)
	if s := p.events.writers[key]; s != nil {
		return s, nil
	}
	var answer struct {
		Type string `json:"type"`
		Data string `json:"data"`
	}
	path := fmt.Sprintf("/schemas/%s/%s/schema/%d", namespace, policyLog, version)
	if _, err := p.rest.call(ctx, http.MethodGet, path, nil, &answer); err != nil {
		return nil, err
	}
	if !strings.EqualFold(answer.Type, "AVRO") {
		return nil, fmt.Errorf("its schema is of type %q", clip(answer.Type))
	}
	s, err := schemas.Parse([]byte(answer.Data), policyLog)
	if err != nil {
		return nil, errors.New("its schema cannot be read: " + err.Error()) // a fault of ours it is not
	}
	if p.events.writers == nil {
		p.events.writers = make(map[string]*schemas.Schema)
	}
	p.events.writers[key] = s
	return s, nil
}

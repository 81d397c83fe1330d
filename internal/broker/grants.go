package broker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/apache/pulsar-client-go/pulsar"
)

// Duty is what a role is there for.
type Duty string

// The duties. Each needs less than the next, and should have a role of its own.
const (
	Consume   Duty = "consume"   // projections, `runnel tail`
	Publish   Duty = "publish"   // the daemon; it also reads what it published
	Provision Duty = "provision" // `run --auto-apply`: namespace, topics, schemas
)

// Duties are all duties, the smallest first.
var Duties = []Duty{Consume, Publish, Provision}

// Grant is what a duty needs in a namespace.
type Grant struct {
	Needs string // in words
	Admin string // the pulsar-admin command
	REST  string // the same as a request: method, path below the admin address, body
}

// GrantFor returns what lets role do a duty in a namespace (tenant/name).
func GrantFor(d Duty, namespace, role string) Grant {
	tenant, _, _ := strings.Cut(namespace, "/")
	grant := func(needs, actions, body string) Grant {
		return Grant{needs,
			fmt.Sprintf("pulsar-admin namespaces grant-permission %s --role %s --actions %s", namespace, role, actions),
			fmt.Sprintf("POST /admin/v2/namespaces/%s/permissions/%s %s", namespace, role, body)}
	}
	switch d {
	case Consume:
		return grant("consume on the namespace", "consume", `["consume"]`)
	case Publish:
		return grant("produce and consume on the namespace", "produce,consume", `["produce","consume"]`)
	}
	return Grant{"administrator of the tenant, set by a superuser, who names the present ones too",
		fmt.Sprintf("pulsar-admin tenants update %s --admin-roles %s", tenant, role),
		fmt.Sprintf(`POST /admin/v2/tenants/%s {"adminRoles":[%q],"allowedClusters":["CLUSTER"]}`, tenant, role)}
}

// May reports whether the token's role may do a duty in a namespace. It changes
// nothing. Consume and Publish are tried on the first of topics (none: of the
// namespace's) that exists; without one the answer is ErrTopicMissing.
func (p *Pulsar) May(ctx context.Context, d Duty, namespace string, topics []string) (bool, error) {
	if d == Provision {
		_, _, err := p.namespace(ctx, namespace)
		return allowed(err)
	}
	if len(topics) == 0 {
		_, err := p.rest.call(ctx, http.MethodGet, "/persistent/"+namespace+"/partitioned", nil, &topics)
		if err != nil && status(err) != http.StatusNotFound {
			return allowed(err)
		}
		topics = slices.DeleteFunc(topics, func(name string) bool { // the broker's own
			_, local := splitTopic(name)
			return strings.HasPrefix(local, "__")
		})
	}
	for _, topic := range topics {
		n, err := p.Partitions(ctx, topic)
		if errors.Is(err, ErrTopicMissing) || (err == nil && n == 0) {
			continue
		}
		if err != nil {
			return allowed(err) // who may neither produce nor consume may not even ask
		}
		if d == Publish {
			return p.mayProduce(ctx, Partition{Topic: topic})
		}
		return p.mayConsume(ctx, Partition{Topic: topic})
	}
	return false, ErrTopicMissing.New("%s has no topic yet to try it on", namespace)
}

func (p *Pulsar) mayConsume(ctx context.Context, q Partition) (bool, error) {
	r, err := p.openReader(ctx, q, Start{}, 1)
	if err == nil {
		r.Close()
	}
	return allowed(err)
}

// mayProduce asks for a producer that the broker refuses for another reason: it
// has no schema, where one is enforced, or the daemon holds the partition. Its
// permission is judged before that. Where it is let in after all it leaves at
// once, having sent nothing.
func (p *Pulsar) mayProduce(ctx context.Context, q Partition) (bool, error) {
	producer, err := within(ctx, p, func() (pulsar.Producer, error) {
		return p.client.CreateProducer(pulsar.ProducerOptions{Topic: q.String()})
	}, pulsar.Producer.Close)
	if err == nil {
		producer.Close()
		return true, nil
	}
	err = clientFault(err, "%s: asking whether it may be published to", q)
	if errors.Is(err, ErrSchemaMissing) || errors.Is(err, ErrNotOwner) {
		return true, nil
	}
	return allowed(err)
}

// allowed turns ErrForbidden into an answer.
func allowed(err error) (bool, error) {
	if errors.Is(err, ErrForbidden) {
		return false, nil
	}
	return err == nil, err
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/runnel-cdc/runnel/internal/broker/wire"
)

// Duty is what a role is there for.
type Duty string

// The duties. Each needs less than the next, and should have a role of its own.
const (
	Consume   Duty = "consume"   // projections, `runnel tail`
	Publish   Duty = "publish"   // the daemon; it also reads what it published
	Provision Duty = "provision" // `schemas apply`, `run --auto-apply`: namespace, topics, schemas
)

// Duties are all duties, the smallest first.
var Duties = []Duty{Consume, Publish, Provision}

// Grant is what a duty needs in a namespace.
type Grant struct {
	Needs string // in words
	Admin string // the pulsar-admin command
	REST  string // the same as a request: method, path below the admin address, body
}

// GrantOnTopic returns the pulsar-admin command that lets role publish to one
// topic, which with consume on the namespace is enough for the daemon.
func GrantOnTopic(topic, role string) string {
	return fmt.Sprintf("pulsar-admin topics grant-permission %s --role %s --actions produce", topic, role)
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

// tryAtOnce bounds the topics that May tries at a time.
const tryAtOnce = 8

// Answer tells where a duty may be done, and where not: topics, or the namespace.
type Answer struct{ May, MayNot []string }

// May asks whether the token's role may do a duty in a namespace. It changes
// nothing. Consume and Publish are tried on each of topics (none: of the
// namespace's) that exists, for a grant may be on single topics; when none does
// the error is ErrTopicMissing.
func (p *Pulsar) May(ctx context.Context, d Duty, namespace string, topics []string) (Answer, error) {
	if d == Provision {
		_, _, err := p.namespace(ctx, namespace)
		may, err := allowed(err)
		var a Answer
		a.add(namespace, may)
		return a, err
	}
	if len(topics) == 0 {
		_, err := p.rest.call(ctx, http.MethodGet, "/persistent/"+namespace+"/partitioned", nil, &topics)
		if errors.Is(err, ErrForbidden) {
			return Answer{MayNot: []string{namespace}}, nil
		}
		if err != nil && status(err) != http.StatusNotFound {
			return Answer{}, err
		}
		topics = slices.DeleteFunc(topics, func(name string) bool { // the broker's own
			_, local := splitTopic(name)
			return strings.HasPrefix(local, "__")
		})
	}
	may, there := make([]bool, len(topics)), make([]bool, len(topics))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(tryAtOnce)
	for i, topic := range topics {
		g.Go(func() (err error) {
			may[i], err = p.may(ctx, d, topic)
			if errors.Is(err, ErrTopicMissing) {
				return nil
			}
			there[i] = true
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return Answer{}, err
	}
	var all Answer
	for i, topic := range topics {
		if there[i] {
			all.add(topic, may[i])
		}
	}
	if len(all.May)+len(all.MayNot) == 0 {
		return Answer{}, ErrTopicMissing.New("%s has no topic yet to try it on", namespace)
	}
	return all, nil
}

func (a *Answer) add(place string, may bool) {
	if may {
		a.May = append(a.May, place)
	} else {
		a.MayNot = append(a.MayNot, place)
	}
}

// may tries a duty on a topic.
func (p *Pulsar) may(ctx context.Context, d Duty, topic string) (bool, error) {
	n, err := p.Partitions(ctx, topic)
	switch {
	case err != nil:
		return allowed(err) // who may neither produce nor consume may not even ask
	case n == 0:
		return false, ErrTopicMissing.New("%s is not partitioned", topic)
	case d == Publish:
		return p.mayProduce(ctx, Partition{Topic: topic})
	}
	return p.mayConsume(ctx, Partition{Topic: topic})
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
	producer, err := p.wire.Producer(ctx, wire.ProducerRequest{Topic: q.String(), Shared: true}, deaf{})
	if err == nil {
		_ = producer.Close(ctx)
		return true, nil
	}
	err = clientFault(err, "%s: asking whether it may be published to", q)
	if errors.Is(err, ErrSchemaMissing) || errors.Is(err, ErrNotOwner) {
		return true, nil
	}
	return allowed(err)
}

// deaf sends nothing, and need not know what becomes of it.
type deaf struct{}

func (deaf) Stored(wire.Receipt) {}
func (deaf) Ended(error)         {}

// allowed turns ErrForbidden into an answer.
func allowed(err error) (bool, error) {
	if errors.Is(err, ErrForbidden) {
		return false, nil
	}
	return err == nil, err
}

package securestack_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/doctor"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/schemas"
)

// Each role does its duty with the grant that GrantFor names, and no more.
func TestRolePerDuty(t *testing.T) {
	ctx := t.Context()
	ns := namespaceName(t)
	name := "persistent://" + ns + "/order"
	part := broker.Partition{Topic: name}

	// Provisioning takes the tenant's administrator.
	publisher, projection, nobody := dial(t, as(t, daemon)), dial(t, as(t, consumer)), dial(t, as(t, stranger))
	for what, p := range map[string]*broker.Pulsar{"daemon": publisher, "consumer": projection, "stranger": nobody} {
		_, err := p.EnsureNamespace(ctx, ns, broker.NamespacePolicy{})
		must(t, what+" makes a namespace", err, broker.ErrForbidden, "doctor --check broker-grants")
	}
	boss := dial(t, as(t, provisioner))
	if _, err := boss.EnsureNamespace(ctx, ns, broker.NamespacePolicy{}); err != nil {
		t.Fatal(err)
	}
	if deviations, err := boss.CheckNamespace(ctx, ns, broker.NamespacePolicy{}); err != nil || len(deviations) > 0 {
		t.Fatal(deviations, err)
	}
	if _, err := boss.EnsureTopic(ctx, name, 2, nil); err != nil {
		t.Fatal(err)
	}
	kind, err := schemas.ParseEventType(placed)
	if err != nil {
		t.Fatal(err)
	}
	composed, err := schemas.Compose("order", []*schemas.EventType{kind}, nil)
	if err != nil {
		t.Fatal(err)
	}
	registry := func(p *broker.Pulsar) *schemas.Registry { return schemas.NewRegistry(p.AdminURL(), p.HTTP()) }
	version, err := registry(boss).Register(ctx, name, composed)
	if err != nil {
		t.Fatal(err)
	}
	schema := &broker.Schema{Name: composed.Name, JSON: composed.JSON, Version: version}

	// Without a grant nothing works, and each thing says so.
	may := func(p *broker.Pulsar) (duties string) {
		t.Helper()
		for _, d := range broker.Duties {
			a, err := p.May(ctx, d, ns, []string{name})
			if err != nil {
				t.Fatal(d, err)
			}
			if len(a.MayNot) == 0 {
				duties += string(d) + " "
			}
		}
		return strings.TrimSpace(duties)
	}
	for what, p := range map[string]*broker.Pulsar{"daemon": publisher, "consumer": projection} {
		_, err := p.Partitions(ctx, name)
		must(t, what+" without a grant", err, broker.ErrForbidden, "doctor")
		_, err = p.MaxMessageSize(ctx, name)
		must(t, what+" without a grant, policies", err, broker.ErrForbidden, "doctor")
		if d := may(p); d != "" {
			t.Errorf("%s without a grant may %s", what, d)
		}
	}
	grant(t, ns, daemon, "produce", "consume")
	grant(t, ns, consumer, "consume")
	for p, want := range map[*broker.Pulsar]string{publisher: "consume publish", projection: "consume", boss: "consume publish provision", nobody: ""} {
		if d := may(p); d != want {
			t.Errorf("may %q, want %q", d, want)
		}
	}

	// The daemon: everything of a run, twice.
	for n := 1; n <= 2; n++ {
		producer, tail, err := acquire(t, publisher, part, schema)
		if err != nil {
			t.Fatal(err)
		}
		if tail.Stamp.Ordinal != uint64(n-1) || tail.MaxMessageSize <= 0 {
			t.Errorf("the tail is %+v", tail)
		}
		if err := publish(t, producer, message(n, schema)); err != nil {
			t.Fatal(err)
		}
		if d := may(publisher); d != "consume publish" { // asked while it publishes
			t.Errorf("may %q", d)
		}
		if err := producer.Err(); err != nil {
			t.Error("asking disturbed the producer:", err)
		}
		producer.Close()
	}
	if state, err := publisher.CheckTopic(ctx, name); err != nil || state.Partitions != 2 || !state.Deduplication || state.MaxMessageSize <= 0 {
		t.Errorf("%+v, %v", state, err)
	}
	if err := publisher.Health(ctx); err != nil {
		t.Error(err)
	}
	if versions, err := registry(publisher).Versions(ctx, name); err != nil || len(versions) != 1 {
		t.Errorf("%d versions, %v", len(versions), err)
	}
	_, err = publisher.CheckNamespace(ctx, ns, broker.NamespacePolicy{})
	must(t, "the daemon reads policies", err, broker.ErrForbidden, "doctor")
	_, err = publisher.EnsureTopic(ctx, name+"2", 1, nil)
	must(t, "the daemon makes a topic", err, broker.ErrForbidden, "doctor")
	if r, err := publisher.ReadSince(ctx, part, position.Position{Epoch: 1, LSN: 2}, ""); err != nil {
		t.Error(err)
	} else {
		r.Close()
	}

	// A consumer reads, subscribes and fetches schemas, and cannot publish.
	r, err := projection.Read(ctx, part, broker.Start{})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := r.Next(ctx); err != nil || m.SchemaVersion != version {
		t.Errorf("%+v, %v", m, err)
	}
	r.Close()
	c, err := projection.Subscribe(ctx, part, "copy")
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Receive(ctx)
	if err == nil {
		err = c.Ack(m.ID)
	}
	if err != nil {
		t.Error(err)
	}
	c.Close()
	if _, err := registry(projection).Version(ctx, name, version); err != nil {
		t.Error(err)
	}
	_, _, err = acquire(t, projection, part, schema)
	must(t, "a consumer publishes", err, broker.ErrForbidden, "doctor")
	if _, err := registry(projection).Register(ctx, name, composed); !errors.Is(err, schemas.ErrRegistryForbidden) {
		t.Errorf("a consumer registers a schema: %v", err)
	}
	_, err = nobody.Read(ctx, part, broker.Start{})
	must(t, "a stranger reads", err, broker.ErrForbidden, "doctor")

	// TOPIC_LEDGER_OPEN: what frees a ledger that was given up.
	for p, allowed := range map[*broker.Pulsar]bool{publisher: false, projection: false, boss: true} {
		request, err := http.NewRequestWithContext(ctx, http.MethodPut, p.AdminURL()+"/admin/v2/persistent/"+ns+"/order-partition-0/unload", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := p.HTTP().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if got := answer.StatusCode/100 == 2; got != allowed {
			t.Errorf("unloading a partition: HTTP %d, want it allowed: %t", answer.StatusCode, allowed)
		}
	}
}

// The daemon's role may not ask for a topic's policies, and still knows the one
// that would make messages vanish.
func TestSizeLimitWithoutRightToPolicies(t *testing.T) {
	t.Run("log of one partition", func(t *testing.T) { testSizeLimit(t, namespace(t)) })
	// As a cluster makes it whose automatic topics are partitioned.
	t.Run("partitioned log", func(t *testing.T) {
		ns := namespace(t)
		admin(t, http.MethodPut, "/persistent/"+ns+"/__change_events/partitions", 3)
		testSizeLimit(t, ns)
		if n, err := dial(t, as(t, provisioner)).Partitions(t.Context(), "persistent://"+ns+"/__change_events"); n != 3 || err != nil {
			t.Errorf("the log has %d partitions, %v", n, err)
		}
	})
}

func testSizeLimit(t *testing.T, ns string) {
	t.Helper()
	ctx := t.Context()
	name, _ := topic(t, ns, "order", 1)
	other, _ := topic(t, ns, "invoice", 1)
	p, boss := dial(t, as(t, daemon)), dial(t, as(t, provisioner))
	whole, err := p.MaxMessageSize(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	path := "/persistent/" + ns + "/order/maxMessageSize"
	become := func(want int) {
		t.Helper()
		eventually(t, "the limit to be known to the role", func() bool {
			got, err := p.MaxMessageSize(ctx, name)
			return err == nil && got == want
		})
		if got, err := p.MaxMessageSize(ctx, other); err != nil || got != whole {
			t.Errorf("the other topic's limit is %d, %v", got, err)
		}
		fresh, err := dial(t, as(t, daemon)).MaxMessageSize(ctx, name)
		if err != nil || fresh != want {
			t.Errorf("a new connection sees %d, %v", fresh, err)
		}
		if got, err := boss.MaxMessageSize(ctx, name); err != nil || got != want {
			t.Errorf("the administrator sees %d, %v", got, err)
		}
	}
	become(whole)
	admin(t, http.MethodPost, path, 1000)
	become(1000)
	admin(t, http.MethodPost, "/persistent/"+ns+"/order/retention", map[string]int{"retentionTimeInMinutes": 10, "retentionSizeInMB": 10})
	admin(t, http.MethodPost, path, 2000)
	become(2000)
	admin(t, http.MethodDelete, path, nil)
	become(whole)
	admin(t, http.MethodPost, path, 3000)
	become(3000)
	admin(t, http.MethodPut, "/persistent/"+ns+"/order-partition-0/compaction", nil) // must not disturb
	become(3000)
}

// Narrower: produce on the topics alone is enough for the daemon, and for nothing
// else in the namespace.
func TestProduceOnTopicsAlone(t *testing.T) {
	ns := namespace(t)
	grant(t, ns, daemon, "consume")
	name, schema := topic(t, ns, "order", 2)
	other, _ := topic(t, ns, "invoice", 1)
	admin(t, http.MethodPost, "/persistent/"+ns+"/order/permissions/"+daemon, []string{"produce"})
	p := dial(t, as(t, daemon))
	for i := range 2 {
		var producer broker.Producer
		var err error
		eventually(t, "the grant on the topic", func() bool {
			producer, _, err = acquire(t, p, broker.Partition{Topic: name, Index: i}, schema)
			return err == nil || !errors.Is(err, broker.ErrForbidden)
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := publish(t, producer, message(1, schema)); err != nil {
			t.Error(err)
		}
		producer.Close()
	}
	// Asked of both topics, the one that refuses shows, whichever is first.
	for _, topics := range [][]string{{name, other}, {other, name}, nil} {
		for duty, want := range map[broker.Duty][]string{broker.Publish: {other}, broker.Consume: nil} {
			if a, err := p.May(t.Context(), duty, ns, topics); err != nil || !slices.Equal(a.MayNot, want) {
				t.Errorf("%s on %v: %+v, %v", duty, topics, a, err)
			}
		}
	}
	cfg := &config.Config{Pulsar: config.Pulsar{URL: stack.PulsarURL, AdminURL: stack.PulsarAdminURL, CAFile: stack.CAFile(), TokenFile: token(t, daemon).path},
		Topics: config.Topics{Namespace: ns}}
	report, err := doctor.Run(t.Context(), cfg, "broker-grants")
	if err != nil {
		t.Fatal(err)
	}
	r := report.Results[len(report.Results)-1]
	if r.Code != broker.ErrForbidden.ID || !strings.Contains(r.Message, "not publish ("+other+")") ||
		!strings.Contains(r.Remedy, "pulsar-admin topics grant-permission "+other+" --role "+daemon+" --actions produce") {
		t.Errorf("%+v", r)
	}
	_, _, err = acquire(t, p, broker.Partition{Topic: other}, schema)
	must(t, "another topic", err, broker.ErrForbidden, "doctor --check broker-grants")
}

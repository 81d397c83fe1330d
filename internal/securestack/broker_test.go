package securestack_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/doctor"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/securestack"
	"github.com/runnel-cdc/runnel/schemas"
)

// authority writes the certificate of an authority that signed nothing here.
func authority(t *testing.T) (*securestack.Authority, string) {
	t.Helper()
	a, err := securestack.NewAuthority("somebody else")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "other.pem")
	if err := os.WriteFile(file, a.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return a, file
}

// What is wrong with a connection to the broker is named, on either side.
func TestPulsarRefuses(t *testing.T) {
	_, stranger := authority(t)
	issuer, err := securestack.NewIssuer()
	if err != nil {
		t.Fatal(err)
	}
	forged, err := issuer.Token(daemon, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	good := as(t, daemon)
	holding := func(text string) func(*broker.Config) {
		f := token(t, daemon)
		f.put(text)
		return func(c *broker.Config) { c.TokenFile = f.path }
	}
	expired := token(t, daemon)
	expired.write(daemon, time.Now().Add(-time.Minute))
	elsewhere := func(address string) string { return strings.Replace(address, securestack.Host, "localhost", 1) }

	for _, c := range []struct {
		what   string
		change func(*broker.Config)
		code   *fault.Code
		remedy string
	}{
		{"another authority", func(c *broker.Config) { c.CAFile = stranger }, broker.ErrTLS, "pulsar.ca_file"},
		{"the system's authorities", func(c *broker.Config) { c.CAFile = "" }, broker.ErrTLS, "pulsar.ca_file"},
		{"another name", func(c *broker.Config) { c.URL = elsewhere(c.URL) }, broker.ErrTLS, "pulsar.url"},
		{"no TLS", func(c *broker.Config) { c.URL = strings.Replace(c.URL, "+ssl", "", 1) }, broker.ErrUnreachable, "pulsar+ssl://"},
		{"no token", func(c *broker.Config) { c.TokenFile = "" }, broker.ErrUnauthorized, "pulsar.token_file"},
		{"an expired token", func(c *broker.Config) { c.TokenFile = expired.path }, broker.ErrUnauthorized, "read again by itself"},
		{"a token of another key", holding(forged), broker.ErrUnauthorized, "pulsar.token_file"},
		{"something else than a token", holding("hunter2hunter2"), broker.ErrUnauthorized, "pulsar.token_file"},
		{"several lines", holding("hunter2\nhunter2"), broker.ErrTokenFile, "in one line"},
	} {
		cfg := good
		c.change(&cfg)
		_, err := broker.Dial(t.Context(), cfg)
		must(t, c.what, err, c.code, c.remedy)
	}

	// The admin side checks for itself.
	cfg := good
	cfg.AdminURL = elsewhere(cfg.AdminURL)
	must(t, "another name, admin", dial(t, cfg).Health(t.Context()), broker.ErrTLS, "pulsar.admin_url")
	cfg = good
	cfg.AdminURL = strings.Replace(cfg.AdminURL, "https", "http", 1)
	must(t, "no TLS, admin", dial(t, cfg).Health(t.Context()), broker.ErrWrongServer, "8443")
	f := token(t, daemon)
	p := dial(t, with(f))
	if err := p.Health(t.Context()); err != nil {
		t.Error(err)
	}
	f.put(forged)
	must(t, "a token of another key, admin", p.Health(t.Context()), broker.ErrUnauthorized, "pulsar.token_file")
	f.write(daemon, time.Time{})
	if err := p.Health(t.Context()); err != nil {
		t.Error("after the token was replaced:", err)
	}
}

// A certificate that is replaced while the broker runs is judged anew by every
// connection, those of the client library included.
func TestPulsarCertificates(t *testing.T) {
	name, _ := topic(t, namespace(t), "order", 1)
	part := broker.Partition{Topic: name}
	show := func(r securestack.Request, dials func(error) bool) {
		t.Helper()
		pair, err := stack.Authority.Issue(r)
		if err == nil {
			err = stack.ReplacePulsarCertificate(pair.Certificate, pair.Key)
		}
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the broker to show another certificate, on both sides", func() bool {
			p, err := broker.Dial(t.Context(), as(t, daemon))
			if err == nil {
				p.Close()
			}
			_, _, web := stack.Ask(t.Context(), "", http.MethodGet, "/clusters", nil)
			return dials(err) && dials(web)
		})
	}
	healthy := func(err error) bool { return err == nil }
	expired := func(err error) bool { return errors.As(err, new(x509.CertificateInvalidError)) }
	misnamed := func(err error) bool { return errors.As(err, new(x509.HostnameError)) }
	restore := func() { show(securestack.Request{Hosts: []string{securestack.Host}}, healthy) }
	defer restore()

	show(securestack.Request{Hosts: []string{securestack.Host}, Expires: -time.Minute}, expired)
	_, err := broker.Dial(t.Context(), as(t, daemon))
	must(t, "an expired certificate", err, broker.ErrTLS, "Renew the broker's certificate")

	// The client library checks names as well. Greeted once, it connects when it
	// is first asked for something.
	restore()
	cfg := as(t, daemon)
	cfg.OperationTimeout = 3 * time.Second
	p := dial(t, cfg)
	admin := func() {
		if n, err := p.Partitions(t.Context(), name); err != nil || n != 1 {
			t.Errorf("%d partitions, %v", n, err)
		}
	}
	admin()
	show(securestack.Request{Hosts: []string{"localhost"}}, misnamed)
	admin() // over the connection of before
	if r, err := p.Read(t.Context(), part, broker.Start{}); err == nil {
		r.Close()
		t.Error("a certificate of another name was taken")
	}
	restore()
	r, err := dial(t, as(t, consumer)).Read(t.Context(), part, broker.Start{})
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
}

// message is the n-th of a partition.
func message(n int, s *broker.Schema) *broker.Outgoing {
	at := position.Stamp{Position: position.Position{Epoch: 1, LSN: uint64(n)}, Ordinal: uint64(n)}
	return &broker.Outgoing{Key: "k", Payload: []byte{2}, Schema: s,
		Properties: map[string]string{position.Property: at.String()}}
}

// publish sends a message and waits for its acknowledgement.
func publish(t *testing.T, p broker.Producer, m *broker.Outgoing) error {
	t.Helper()
	done := make(chan error, 1)
	p.Send(t.Context(), m, func(_ broker.MessageID, err error) { done <- err })
	p.Flush()
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		return errors.New("no acknowledgement")
	}
}

func acquire(t *testing.T, p *broker.Pulsar, part broker.Partition, s *broker.Schema) (broker.Producer, broker.Tail, error) {
	return p.Acquire(t.Context(), broker.AcquireRequest{Partition: part, Producer: "runnel-test", Schema: s}, nil)
}

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
	if r, err := publisher.ReadSince(ctx, part, position.Position{Epoch: 1, LSN: 2}); err != nil {
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

// A live connection outlives its token when the file has a newer one in time,
// and ends when it has not.
func TestTokenExpiresWhileConnected(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	name, schema := topic(t, namespace(t), "order", 1)
	part := broker.Partition{Topic: name}
	f := token(t, daemon)
	expires := time.Now().Add(4 * time.Second)
	f.write(daemon, expires)
	p := dial(t, with(f))
	if id, ok := p.Identity(); !ok || id.Subject != daemon || id.Expires.Unix() != expires.Unix() {
		t.Errorf("%+v", id)
	}
	producer, _, err := acquire(t, p, part, schema)
	if err != nil {
		t.Fatal(err)
	}
	if err := publish(t, producer, message(1, schema)); err != nil {
		t.Fatal(err)
	}

	// Replaced in time.
	second := time.Now().Add(8 * time.Second)
	f.write(daemon, second)
	n := 1
	for time.Now().Before(expires.Add(2500 * time.Millisecond)) {
		n++
		if err := publish(t, producer, message(n, schema)); err != nil {
			t.Fatal("after the first token expired:", err)
		}
		tick(ctx, 200*time.Millisecond)
	}

	// Not replaced.
	select {
	case <-producer.Lost():
		t.Logf("lost %v after the second token expired: %v", time.Since(second), producer.Err())
		if time.Now().Before(second.Truncate(time.Second)) {
			t.Error("lost too early")
		}
	case <-ctx.Done():
		t.Fatal("the connection outlives its token")
	}
	producer.Close()
	_, err = broker.Dial(ctx, with(f))
	must(t, "an expired token", err, broker.ErrUnauthorized, "read again by itself")
	if !strings.Contains(err.Error(), `of "`+daemon+`", expired at `) {
		t.Errorf("%v does not say that the token expired", err)
	}

	// A file that is being replaced.
	f.write(daemon, time.Time{})
	again := dial(t, with(f))
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	if err := again.Health(ctx); err != nil {
		t.Error("while the file is absent:", err)
	}
	_, err = broker.Dial(ctx, with(f))
	must(t, "no file", err, broker.ErrTokenFile, "in one line")
	f.write(daemon, time.Time{})
	producer, tail, err := acquire(t, again, part, schema)
	if err != nil || tail.Stamp.Ordinal != uint64(n) {
		t.Fatal(tail, err)
	}
	producer.Close()
}

// tick waits, as an event that comes at intervals would.
func tick(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// Taking a permission away ends who uses it, at once.
func TestGrantIsTakenAway(t *testing.T) {
	ns := namespace(t)
	name, schema := topic(t, ns, "order", 1)
	part := broker.Partition{Topic: name}
	p := dial(t, as(t, daemon))
	producer, _, err := acquire(t, p, part, schema)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	if err := publish(t, producer, message(1, schema)); err != nil {
		t.Fatal(err)
	}
	grant(t, ns, daemon)
	select {
	case <-producer.Lost():
		t.Log(producer.Err())
	case <-time.After(20 * time.Second):
		t.Fatal("the producer keeps its right")
	}
	_, _, err = acquire(t, p, part, schema)
	must(t, "the grant is gone", err, broker.ErrForbidden, "doctor --check broker-grants")
	grant(t, ns, daemon, "consume")
	eventually(t, "a producer's right alone to be missing", func() bool {
		a, err := p.May(t.Context(), broker.Consume, ns, []string{name})
		return err == nil && len(a.MayNot) == 0
	})
	_, _, err = acquire(t, p, part, schema)
	must(t, "consume alone", err, broker.ErrForbidden, "doctor --check broker-grants")
	grant(t, ns, daemon, "produce", "consume")
	eventually(t, "the right to be back", func() bool {
		again, tail, err := acquire(t, p, part, schema)
		if err != nil {
			return false
		}
		again.Close()
		return tail.Stamp.Ordinal == 1
	})
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

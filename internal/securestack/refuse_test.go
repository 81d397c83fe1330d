package securestack_test

import (
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/securestack"
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

package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/fault"
)

func TestSecretFiles(t *testing.T) {
	t.Setenv("PGSSLKEY", "")
	dir := t.TempDir()
	for _, tc := range []struct {
		mode os.FileMode
		open bool
	}{{0o600, false}, {0o400, false}, {0o640, false}, {0o660, false}, {0o644, true}, {0o444, true}, {0o602, true}} {
		file := filepath.Join(dir, tc.mode.String())
		if err := os.WriteFile(file, []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, cfg := range []config.Config{
			{Pulsar: config.Pulsar{TokenFile: file}},
			{Postgres: config.Postgres{PasswordFile: file}},
			{Postgres: config.Postgres{URL: "postgres://h/d?sslcert=c&sslkey=" + file}},
		} {
			if err := os.Chmod(file, tc.mode); err != nil {
				t.Fatal(err)
			}
			_, err := checkSecretFiles(t.Context(), &Session{cfg: &cfg})
			if errors.Is(err, ErrSecretOpen) != tc.open || (err != nil && !errors.As(err, new(warning))) {
				t.Errorf("%o: %v", tc.mode, err)
			}
		}
	}
	absent := config.Config{Pulsar: config.Pulsar{TokenFile: filepath.Join(dir, "absent")}}
	if _, err := checkSecretFiles(t.Context(), &Session{cfg: &absent}); !errors.Is(err, config.ErrSecretFile) {
		t.Errorf("absent: %v", err)
	}
	if _, err := checkSecretFiles(t.Context(), &Session{cfg: &config.Config{}}); !errors.As(err, new(skipped)) {
		t.Errorf("none: %v", err)
	}
}

func TestEncryption(t *testing.T) {
	verify := func([][]byte, [][]*x509.Certificate) error { return nil }
	for name, tc := range map[string]struct {
		host string
		tls  *tls.Config
		ok   bool
	}{
		"verify-full":          {"db.example", &tls.Config{ServerName: "db.example"}, true},
		"verify-ca":            {"db.example", &tls.Config{InsecureSkipVerify: true, VerifyPeerCertificate: verify}, false},
		"require or prefer":    {"db.example", &tls.Config{InsecureSkipVerify: true}, false},
		"disable":              {"db.example", nil, false},
		"disable, by address":  {"10.0.0.1", nil, false},
		"disable, this one":    {"127.0.0.1", nil, true},
		"disable, this one, 6": {"::1", nil, true},
		"disable, a socket":    {"/run/postgresql", nil, true},
		"disable, localhost":   {"localhost", nil, true},
	} {
		if saw, found := judgeEncryption(tc.host, tc.tls); (found == nil) != tc.ok || (saw != "") != tc.ok {
			t.Errorf("%s: %q %v", name, saw, found)
		}
	}
	for address, ok := range map[string]bool{
		"pulsar+ssl://pulsar:6651": true, "https://pulsar:8443": true, "pulsar://127.0.0.1:6650": true, "http://[::1]:8080": true,
		"pulsar://pulsar:6650": false, "http://10.0.0.1:8080": false, "pulsar://localhost:6650,pulsar:6650": false,
	} {
		found := judgeAddress("pulsar.url", address, true)
		if (found == nil) != ok || (found != nil && !strings.Contains(found[0].what, "the token")) {
			t.Errorf("%s: %v", address, found)
		}
	}
}

// One finding does not hide another, and they always come in the same order.
func TestEncryptionFindsAll(t *testing.T) {
	pulsar := config.Pulsar{URL: "pulsar://a:6650,b:6650", AdminURL: "http://c:8080", TokenFile: "token"}
	for range 20 {
		_, err := judgeConnections("db.example", nil, pulsar)
		if !errors.Is(err, ErrUnprotected) || !errors.As(err, new(warning)) {
			t.Fatal(err)
		}
		const want = "the connection to the database at db.example is not encrypted; pulsar.url: the token and events pass to a:6650 unencrypted; " +
			"pulsar.url: the token and events pass to b:6650 unencrypted; pulsar.admin_url: the token and events pass to c:8080 unencrypted"
		if f := fault.Find(err); f.Message != want || strings.Count(f.Remedy, "\n") != 1 {
			t.Fatalf("%s\n%s", f.Message, f.Remedy)
		}
	}
}

func TestGrants(t *testing.T) {
	id := broker.Identity{Subject: "runnel", Expires: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}
	for _, tc := range []struct {
		may  []broker.Duty
		ok   bool
		said string
	}{
		{broker.Duties, true, `role "runnel" (until 2030-01-02T03:04:05Z) may consume, publish, provision`},
		{[]broker.Duty{broker.Consume, broker.Publish}, true, "may consume, publish not provision"},
		{[]broker.Duty{broker.Consume}, false, "may consume not publish, provision"},
		{[]broker.Duty{broker.Publish}, false, "may publish not consume, provision"},
		{nil, false, "may not consume, publish, provision"},
	} {
		g := grants{namespace: "public/runnel", id: id, known: true, may: map[broker.Duty]broker.Answer{}}
		for _, d := range broker.Duties {
			if !slices.Contains(tc.may, d) {
				g.may[d] = broker.Answer{MayNot: []string{"somewhere"}}
			}
		}
		said, err := g.judge()
		if err != nil {
			said = err.Error()
		}
		if (err == nil) != tc.ok || !strings.Contains(said, tc.said) || (err != nil && !errors.Is(err, broker.ErrForbidden)) {
			t.Errorf("%v: %q, %v", tc.may, said, err)
		}
	}
	text := grantText("public/runnel", "runnel")
	for _, want := range []string{
		"\n  pulsar-admin namespaces grant-permission public/runnel --role runnel --actions produce,consume\n",
		"\n  # or POST /admin/v2/namespaces/public/runnel/permissions/runnel [\"produce\",\"consume\"]\n",
		"\n  pulsar-admin namespaces grant-permission public/runnel --role ROLE --actions consume\n",
		"\n  pulsar-admin tenants update public --admin-roles ROLE\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}

package securestack_test

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/securestack"
	"github.com/runnel-cdc/runnel/internal/wire"
)

// file writes a file that its owner alone may read.
func file(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// certificate issues a client's certificate for a role, and returns the query
// parameters that show it.
func certificate(t *testing.T, by *securestack.Authority, role string, expires time.Duration) string {
	t.Helper()
	pair, err := by.Issue(securestack.Request{Name: role, Expires: expires})
	if err != nil {
		t.Fatal(err)
	}
	return "&sslcert=" + url.QueryEscape(file(t, "client.crt", pair.Certificate)) +
		"&sslkey=" + url.QueryEscape(file(t, "client.key", pair.Key))
}

// membership makes a group of pg_hba.conf, which is the cluster's.
func membership(t *testing.T, db *pgtest.DB, group, role string) {
	t.Helper()
	db.Exec(t, fmt.Sprintf(`do $$ begin if to_regrole('%[1]s') is null then create role %[1]s; end if; end $$; grant %[1]s to %[2]s`, group, role))
}

// session connects as the commands do.
func session(t *testing.T, address string, environ ...string) error {
	t.Helper()
	cfg, err := config.Load(config.Options{Environ: append(environ, "RUNNEL_POSTGRES_URL="+address)})
	if err != nil {
		return err
	}
	conn, err := wire.Postgres(t.Context(), cfg, "test")
	if err != nil {
		return err
	}
	defer wire.Close(conn)
	var secured bool
	if err := conn.QueryRow(t.Context(), `select ssl from pg_stat_ssl where pid = pg_backend_pid()`).Scan(&secured); err != nil {
		return err
	}
	if !secured {
		return errors.New("a session without TLS")
	}
	return nil
}

// What is wrong with a connection to Postgres is named.
func TestPostgresRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	db := pgtest.NewOn(t, stack.PostgresURL)
	other, otherFile := authority(t)
	password := strings.Repeat("hunter2", 3)
	secrets.add(password)
	secrets.add("not" + password)
	make := func(name, group string) string {
		role := db.Role(name)
		db.Exec(t, fmt.Sprintf("create role %s login password '%s'", role, password))
		if group != "" {
			membership(t, db, group, role)
		}
		return role
	}
	plain, carded, both := make("plain", ""), make("carded", "with_certificate"), make("both", "with_both")
	change := func(address, key, value string) string {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		q.Set(key, value)
		u.RawQuery = q.Encode()
		return u.String()
	}
	good := db.URLAs(plain, password)
	shown := func(by *securestack.Authority, name string, expires time.Duration) string {
		return db.URLAs(carded) + certificate(t, by, name, expires)
	}
	mixed := func() string { // the key of another certificate
		a, b := shown(stack.Authority, carded, 0), shown(stack.Authority, carded, 0)
		return a[:strings.Index(a, "&sslkey=")] + b[strings.Index(b, "&sslkey="):]
	}

	for _, c := range []struct {
		what, address string
		code          *fault.Code // nil: it is let in
		remedy        string
	}{
		{"verify-full", good, nil, ""},
		{"a certificate instead of a password", shown(stack.Authority, carded, 0), nil, ""},
		{"a certificate and a password", db.URLAs(both, password) + certificate(t, stack.Authority, both, 0), nil, ""},

		{"another authority", change(good, "sslrootcert", otherFile), capture.ErrTLS, "sslrootcert"},
		{"the system's authorities", change(good, "sslrootcert", "system"), capture.ErrTLS, "sslrootcert"},
		{"another name", strings.Replace(good, securestack.Host, "localhost", 1), capture.ErrTLS, "postgres.url"},
		{"no TLS", change(good, "sslmode", "disable"), capture.ErrAuth, "sslmode"},
		{"a wrong password", db.URLAs(plain, "not"+password), capture.ErrAuth, "password_file"},
		{"no certificate where one is asked for", db.URLAs(carded, password), capture.ErrAuth, "sslcert"},
		{"a password but no certificate", db.URLAs(both, password), capture.ErrAuth, "sslcert"},
		{"a certificate but a wrong password", db.URLAs(both, "not"+password) + certificate(t, stack.Authority, both, 0), capture.ErrAuth, "password_file"},
		{"the certificate of another role", shown(stack.Authority, plain, 0), capture.ErrAuth, "sslcert"},
		{"a certificate of another authority", shown(other, carded, 0), capture.ErrAuth, "sslcert"},
		{"an expired client's certificate", shown(stack.Authority, carded, -time.Minute), capture.ErrTLS, "sslcert"},
		{"a certificate and another's key", mixed(), config.ErrValue, ""},
		{"an authority's file that is missing", change(good, "sslrootcert", "/nowhere/ca.pem"), config.ErrValue, ""},
	} {
		err := session(t, c.address)
		switch {
		case c.code != nil:
			must(t, c.what, err, c.code, c.remedy)
		case err != nil:
			t.Errorf("%s: %v", c.what, err)
		}
		// The daemon's own connections judge alike.
		if c.code != nil && c.code != config.ErrValue {
			_, err := capture.Open(t.Context(), capture.Config{URL: c.address, Slot: db.Slot("s")})
			must(t, c.what+", daemon", err, c.code, c.remedy)
		}
	}

	// The same by libpq's variables.
	for name, value := range map[string]string{"PGSSLMODE": "verify-full", "PGSSLROOTCERT": stack.CAFile(), "PGPASSFILE": file(t, "pgpass", []byte("*:*:*:*:"+password+"\n"))} {
		t.Setenv(name, value)
	}
	u, err := url.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	bare := fmt.Sprintf("postgres://%s@%s/%s", plain, u.Host, db.Name())
	if err := session(t, bare); err != nil {
		t.Error("by PGSSLMODE, PGSSLROOTCERT and PGPASSFILE:", err)
	}
	if err := session(t, bare, "RUNNEL_POSTGRES_PASSWORD_FILE="+file(t, "password", []byte("not"+password))); !errors.Is(err, capture.ErrAuth) {
		t.Error("postgres.password_file does not come before PGPASSFILE:", err)
	}
	if err := session(t, bare, "RUNNEL_POSTGRES_PASSWORD_FILE="+file(t, "password", []byte(password+"\n"))); err != nil {
		t.Error("by postgres.password_file:", err)
	}
}

// An expired certificate of the server is refused from the moment it is shown.
func TestPostgresCertificateExpires(t *testing.T) {
	t.Chdir(t.TempDir())
	db := pgtest.NewOn(t, stack.PostgresURL)
	admin := db.Conn(t) // stays in: certificates are for greetings
	show := func(expires time.Duration) {
		t.Helper()
		pair, err := stack.Authority.Issue(securestack.Request{Hosts: []string{securestack.Host}, Expires: expires})
		if err == nil {
			err = stack.ReplacePostgresCertificate(pair.Certificate, pair.Key)
		}
		if err == nil {
			_, err = admin.Exec(t.Context(), "select pg_reload_conf()")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	defer eventually(t, "the good certificate", func() bool { return session(t, db.URL()) == nil })
	defer show(0)
	show(-time.Minute)
	var err error
	eventually(t, "the expired certificate", func() bool { err = session(t, db.URL()); return err != nil })
	must(t, "an expired certificate", err, capture.ErrTLS, "Renew the database server's certificate")
}

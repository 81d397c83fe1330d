package devstack

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/runnel-cdc/runnel/deploy"
)

// Secure makes the servers of an Ephemeral stack speak TLS alone and ask who is
// there. Everything is PEM unless said otherwise.
type Secure struct {
	CA []byte // the certificate of the authority that signed the servers'

	PostgresCertificate, PostgresKey []byte
	PostgresClientCA                 []byte // signs clients' certificates

	PulsarCertificate, PulsarKey []byte
	PulsarTokenKey               []byte // public, ES256, DER
	PulsarToken                  string // of the role superuser
}

// The files in the servers' folders that a test may replace while they run.
const (
	postgresCertificate = "server.crt"
	postgresKey         = "server.key"
	pulsarCertificate   = "broker.crt"
	pulsarKey           = "broker.key"
	pulsarTokenKey      = "token.pub"
	pulsarToken         = "broker.token"
)

func (s *Secure) postgresSettings() string {
	if s == nil {
		return ""
	}
	return "\n" + deploy.PostgreSQLSecure
}

// writePostgres puts keys and access rules into the folder of the data, unless
// they are there: the server may be started again with others.
func (s *Secure) writePostgres(data string, as account) error {
	if s == nil {
		return nil
	}
	var errs []error
	for name, content := range map[string][]byte{
		postgresCertificate: s.PostgresCertificate, postgresKey: s.PostgresKey, "clients.pem": s.PostgresClientCA,
	} {
		path := filepath.Join(data, name)
		if _, err := os.Stat(path); err != nil {
			errs = append(errs, os.WriteFile(path, content, 0o600), as.own(path))
		}
	}
	access := filepath.Join(data, "pg_hba.conf") // initdb's own, with its owner
	return errors.Join(append(errs, os.WriteFile(access, []byte(deploy.PostgreSQLAccess), 0o600))...)
}

// CAFile returns the file with the authority of a secured stack's certificates.
func (s *Stack) CAFile() string { return filepath.Join(s.dir, authority) }

// postgresQuery is the query of the superuser's URL.
func (s *Stack) postgresQuery() string {
	if s.secure == nil {
		return "sslmode=disable"
	}
	return url.Values{"sslmode": {"verify-full"}, "sslrootcert": {s.CAFile()}}.Encode()
}

// writeAuthority writes CAFile.
func (s *Stack) writeAuthority() error {
	if s.secure == nil {
		return nil
	}
	return replaceFile(s.CAFile(), s.secure.CA)
}

// pulsarPorts are the settings of a broker's ports: without TLS, or with it
// alone.
func (s *Secure) pulsarPorts(p *pulsarState) string {
	if s == nil {
		return fmt.Sprintf("brokerServicePort=%d\nwebServicePort=%d\n", p.Broker, p.Web)
	}
	return fmt.Sprintf("brokerServicePort=\nwebServicePort=\nbrokerServicePortTls=%d\nwebServicePortTls=%d\n", p.Broker, p.Web)
}

// writePulsar writes what a broker is to read, and returns further settings.
func (s *Secure) writePulsar(dir string) (settings string, err error) {
	if s == nil {
		return "", nil
	}
	for name, content := range map[string][]byte{
		pulsarCertificate: s.PulsarCertificate, pulsarKey: s.PulsarKey,
		pulsarTokenKey: s.PulsarTokenKey, pulsarToken: []byte(s.PulsarToken),
	} {
		err = errors.Join(err, replaceFile(filepath.Join(dir, name), content))
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	return deploy.PulsarSecure + fmt.Sprintf(`
# This stack's own.
tlsCertificateFilePath=%s
tlsKeyFilePath=%s
brokerClientTrustCertsFilePath=%s
tokenPublicKey=file://%s
brokerClientAuthenticationParameters=file://%s
# For tests: replaced certificates and expired tokens are noticed soon.
tlsCertRefreshCheckDurationSec=1
authenticationRefreshCheckSeconds=1
`, path(pulsarCertificate), path(pulsarKey), filepath.Join(filepath.Dir(dir), authority), path(pulsarTokenKey), path(pulsarToken)), err
}

// pulsarURLs are the broker's addresses.
func (s *Stack) pulsarURLs(p *pulsarState) (service, admin string) {
	service, admin = p.urls()
	if s.secure != nil {
		service = fmt.Sprintf("pulsar+ssl://127.0.0.1:%d", p.Broker)
		admin = fmt.Sprintf("https://127.0.0.1:%d", p.Web)
	}
	return service, admin
}

// adminClient asks the stack's broker as its superuser.
func (s *Stack) adminClient() *http.Client {
	transport := &http.Transport{DisableKeepAlives: true}
	if s.secure == nil {
		return &http.Client{Transport: transport}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.secure.CA)
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return &http.Client{Transport: withToken{transport, s.secure.PulsarToken}}
}

type withToken struct {
	http.RoundTripper
	token string
}

func (t withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+t.token)
	return t.RoundTripper.RoundTrip(r)
}

// ReplacePostgresCertificate gives the running server another certificate, which
// it shows once its settings are read again (pg_reload_conf).
func (s *Stack) ReplacePostgresCertificate(certificate, key []byte) error {
	data := filepath.Join(s.state.Postgres.Base, "data")
	// Written in place: they stay the server's own.
	return errors.Join(os.WriteFile(filepath.Join(data, postgresCertificate), certificate, 0o600),
		os.WriteFile(filepath.Join(data, postgresKey), key, 0o600))
}

// ReplacePulsarCertificate gives the running broker another certificate, which
// it shows within about a second.
func (s *Stack) ReplacePulsarCertificate(certificate, key []byte) error {
	dir := filepath.Join(s.dir, pulsarDir)
	return errors.Join(replaceFile(filepath.Join(dir, pulsarKey), key), replaceFile(filepath.Join(dir, pulsarCertificate), certificate))
}

// ReplacePulsarTokenKey gives the broker another key to verify tokens with, and
// another token of its own, for when it is started the next time.
func (s *Stack) ReplacePulsarTokenKey(public []byte, superuser string) error {
	s.secure.PulsarTokenKey, s.secure.PulsarToken = public, superuser
	_, err := s.secure.writePulsar(filepath.Join(s.dir, pulsarDir))
	return err
}

// Package tlsfault says what to do about a TLS handshake that failed: a
// certificate that expired, an authority nobody knows, a name that does not
// match. Postgres and Pulsar are spoken to by different packages, and both fail
// in these ways.
//
// It looks at errors and opens nothing. Start with Remedy.
package tlsfault

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
)

// Server names one kind of server and its settings, for remedies.
type Server struct {
	Name    string // "the broker"
	Address string // the setting that holds its name: pulsar.url
	CA      string // the setting that names the file of authorities
	Client  string // the settings of this side's certificate; "" when there are none
}

// Remedy returns what to do about err. It reports false when err is not about
// TLS.
func (s Server) Remedy(err error) (string, bool) {
	var (
		invalid   x509.CertificateInvalidError
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		verify    *tls.CertificateVerificationError
		record    tls.RecordHeaderError
		op        *net.OpError
	)
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("Renew %s's certificate, or correct this machine's clock; here nothing has to be restarted.", s.Name), true
	case errors.As(err, &authority):
		return fmt.Sprintf("Put the certificate of the authority that signed %s's into the file of %s; the file may hold several.", s.Name, s.CA), true
	case errors.As(err, &name):
		return fmt.Sprintf("Write a name that %s's certificate holds into %s, or have a certificate issued for this one.", s.Name, s.Address), true
	case errors.As(err, &op) && op.Op == "remote error": // an alert
		if s.Client == "" {
			return fmt.Sprintf("See %s's log for what it refused: it may ask for a client's certificate, which is not used here.", s.Name), true
		}
		return fmt.Sprintf("%s refused this side's certificate: check that %s name one that is valid and signed by an authority it trusts.", sentence(s.Name), s.Client), true
	case errors.As(err, &verify):
		return fmt.Sprintf("Have a new certificate issued for %s.", s.Name), true
	case errors.As(err, &record):
		return fmt.Sprintf("Check that %s has TLS switched on, and that the port in %s is the one with TLS.", s.Name, s.Address), true
	}
	return "", false
}

func sentence(name string) string {
	if name == "" {
		return name
	}
	return string(name[0]-'a'+'A') + name[1:]
}

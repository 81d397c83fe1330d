package tlsfault

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
)

func TestRemedy(t *testing.T) {
	with := Server{Name: "the server", Address: "its.url", CA: "its.ca", Client: "its.certificate"}
	without := with
	without.Client = ""
	alert := &net.OpError{Op: "remote error", Err: errors.New("tls: expired certificate")}
	for _, tc := range []struct {
		of   Server
		err  error
		want string // "": not about TLS
	}{
		{with, x509.CertificateInvalidError{Reason: x509.Expired}, "Renew the server's certificate"},
		{with, x509.UnknownAuthorityError{}, "the file of its.ca"},
		{with, x509.HostnameError{}, "into its.url"},
		{with, alert, "The server refused this side's certificate: check that its.certificate"},
		{without, alert, "the server's log"},
		{with, x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign}, ""},
		{with, &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign}}, "new certificate issued for the server"},
		{with, tls.RecordHeaderError{}, "TLS switched on"},
		{with, &net.OpError{Op: "dial", Err: errors.New("refused")}, ""},
		{with, errors.New("tls: x509: certificate has expired"), ""},
	} {
		for _, err := range []error{tc.err, fmt.Errorf("connecting: %w", tc.err)} {
			remedy, ok := tc.of.Remedy(err)
			if ok != (tc.want != "") || !strings.Contains(remedy, tc.want) {
				t.Errorf("%T: %q", tc.err, remedy)
			}
		}
	}
}

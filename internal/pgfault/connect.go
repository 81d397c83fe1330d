package pgfault

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/tlsfault"
)

// server is how remedies name Postgres and its settings.
var server = tlsfault.Server{
	Name: "the database server", Address: "the address (postgres.url)", CA: "sslrootcert", Client: "sslcert and sslkey",
}

// TLS returns the fault of a connection that failed at TLS, or nil when err is
// not about that. c is what was connected with, nil for no TLS.
func TLS(err error, c *tls.Config) *fault.Error {
	err = Root(err)
	if strings.Contains(err.Error(), "server refused TLS connection") { // pgconn gives it no type
		return ErrTLS.Wrap(err, "cannot connect").
			Fix("Switch TLS on at the server (ssl = on, ssl_cert_file, ssl_key_file), or point the address at one that has it.")
	}
	if remedy, ok := server.Remedy(err); ok {
		return ErrTLS.Wrap(err, "cannot connect").Fix("%s", remedy)
	}
	// A server that refuses a certificate may hang up before what it says of
	// that is read.
	if expired := expiredAt(c, time.Now()); hungUp(err) && !expired.IsZero() {
		return ErrTLS.Wrap(err, "cannot connect; the certificate of sslcert expired at %s", expired.UTC().Format(time.RFC3339)).
			Fix("Renew the certificate that sslcert names; no restart is needed.")
	}
	return nil
}

func hungUp(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// expiredAt returns when the client's certificate expired, zero if it is good or
// there is none.
func expiredAt(c *tls.Config, now time.Time) time.Time {
	if c == nil {
		return time.Time{}
	}
	for _, pair := range c.Certificates {
		if leaf, err := x509.ParseCertificate(pair.Certificate[0]); err == nil && leaf.NotAfter.Before(now) {
			return leaf.NotAfter
		}
	}
	return time.Time{}
}

// Root strips the layers of an error to connect whose texts repeat the address,
// and says in one line what several attempts ended in.
func Root(err error) error {
	var connect *pgconn.ConnectError
	for errors.As(err, &connect) && errors.Unwrap(connect) != nil {
		err = errors.Unwrap(connect)
	}
	var lines []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return &attempts{err, strings.Join(lines, "; ")}
}

// attempts is an error to connect. Where TLS is only preferred, or a name has
// several addresses, pgconn tries more than once.
type attempts struct {
	error
	text string
}

func (a *attempts) Error() string { return a.text }

func (a *attempts) Unwrap() error { return a.error }

// Unusable says why an address cannot be used, without quoting it: the parser's
// own message quotes parts of it, and with them a password.
func Unusable(err error) string {
	if cause := Certificates(err); cause != nil {
		return "the certificates that the address of the source database names cannot be used: " + cause.Error()
	}
	return "the address of the source database is not a Postgres URL"
}

// Certificates returns why an address was refused if the reason is a certificate,
// a key or sslmode, else nil. It quotes nothing but names of files.
func Certificates(err error) error {
	var parse *pgconn.ParseConfigError
	if errors.As(err, &parse) && strings.Contains(parse.Error(), ": failed to configure TLS (") {
		return errors.Unwrap(parse)
	}
	return nil
}

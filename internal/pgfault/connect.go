package pgfault

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/tlsfault"
)

// server is how remedies name Postgres and its settings.
var server = tlsfault.Server{
	Name: "the database server", Address: "the address (postgres.url)", CA: "sslrootcert", Client: "sslcert and sslkey",
}

// TLS returns the fault of a connection that failed at TLS, or nil when err is
// not about that.
func TLS(err error) *fault.Error {
	err = Root(err)
	if strings.Contains(err.Error(), "server refused TLS connection") { // pgconn gives it no type
		return ErrTLS.Wrap(err, "cannot connect").
			Fix("Switch TLS on at the server (ssl = on, ssl_cert_file, ssl_key_file), or point the address at one that has it.")
	}
	if remedy, ok := server.Remedy(err); ok {
		return ErrTLS.Wrap(err, "cannot connect").Fix("%s", remedy)
	}
	return nil
}

// Root strips the layers of an error to connect whose texts repeat the address.
func Root(err error) error {
	var connect *pgconn.ConnectError
	for errors.As(err, &connect) && errors.Unwrap(connect) != nil {
		err = errors.Unwrap(connect)
	}
	return err
}

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

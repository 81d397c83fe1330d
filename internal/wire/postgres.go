package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pgfault"
)

// closeLimit bounds a polite good-bye.
const closeLimit = time.Second

// Close ends a session; a lost one is as good as a closed one.
func Close(conn *pgx.Conn) {
	if conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	_ = conn.Close(ctx)
}

// connectLimit bounds an attempt to connect, unless the URL sets its own.
const connectLimit = 10 * time.Second

// Postgres opens a session of the configured database, named purpose in
// pg_stat_activity. Errors are faults of package capture, without secrets.
func Postgres(ctx context.Context, cfg *config.Config, purpose string) (*pgx.Conn, error) {
	if err := cfg.Need("postgres.url"); err != nil {
		return nil, err
	}
	url, err := cfg.PostgresURL()
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, capture.ErrConfig.New("%s", pgfault.Unusable(err))
	}
	if conn.ConnectTimeout == 0 {
		conn.ConnectTimeout = connectLimit
	}
	conn.RuntimeParams["application_name"] = "runnel " + purpose
	pg, err := pgx.ConnectConfig(ctx, conn)
	if err != nil {
		return nil, connectFault(conn, err)
	}
	return pg, nil
}

// connectFault says what a failure to connect means.
func connectFault(conn *pgx.ConnConfig, err error) error {
	address := fmt.Sprintf("%s@%s/%s", conn.User, net.JoinHostPort(conn.Host, strconv.Itoa(int(conn.Port))), conn.Database)
	err = pgfault.Root(err)
	if tls := pgfault.TLS(err, conn.TLSConfig); tls != nil {
		return tls.At("%s", address)
	}
	code := capture.ErrUnreachable
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "28P01", "28000":
			code = capture.ErrAuth
		case "3D000":
			code = capture.ErrNoDatabase
		}
	}
	return code.Wrap(err, "cannot connect").At("%s", address)
}

// QueryFault gives a failed query of the schema runnel its code; nil and faults stay as they are.
func QueryFault(err error, what string) error {
	if err == nil || fault.Find(err) != nil {
		return err
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "42501":
			return capture.ErrGrant.Wrap(err, "%s", what)
		case "42P01", "3F000", "42703", "42883":
			return capture.ErrNoOutbox.Wrap(err, "%s", what)
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

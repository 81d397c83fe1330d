package doctor

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
	"github.com/runnel-cdc/runnel/schemas"
)

// Session holds what checks have found for those that need them. It is used by
// one goroutine.
type Session struct {
	cfg     *config.Config
	pg      *pgx.Conn        // after the check postgres
	catalog *schemas.Catalog // after the check catalog
}

// closeLimit bounds a polite good-bye.
const closeLimit = time.Second

func (s *Session) close() {
	if s.pg != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
		defer cancel()
		_ = s.pg.Close(ctx) // a lost session is as good as a closed one
	}
}

// connectLimit bounds an attempt to connect, unless the URL sets its own.
const connectLimit = 10 * time.Second

// ConnectPostgres opens a session of the configured database, named purpose in
// pg_stat_activity. Errors are faults of package capture, without secrets.
func ConnectPostgres(ctx context.Context, cfg *config.Config, purpose string) (*pgx.Conn, error) {
	if err := cfg.Need("postgres.url"); err != nil {
		return nil, err
	}
	url, err := cfg.PostgresURL()
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ParseConfig(url)
	if err != nil { // its text quotes parts of the URL
		return nil, capture.ErrConfig.New("the address of the source database is not a Postgres URL")
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
	var connect *pgconn.ConnectError
	for errors.As(err, &connect) && errors.Unwrap(connect) != nil { // layers that repeat the address
		err = errors.Unwrap(connect)
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

// queryFault gives a failed query of a check its code.
func queryFault(err error, what string) error {
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
	return ErrCheck.Wrap(err, "%s", what)
}

package capture

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pgfault"
)

// closeLimit bounds a polite good-bye.
const closeLimit = time.Second

// connectSQL opens an ordinary connection. No parameter is sent that a server
// older than 15 would refuse before its version can be read.
func (s settings) connectSQL(ctx context.Context, purpose string) (*pgx.Conn, error) {
	config := s.conn.Copy()
	config.RuntimeParams["application_name"] = s.application() + "/" + purpose
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, s.connectFault(err)
	}
	return conn, nil
}

// connectReplication opens a connection in logical replication mode.
func (s settings) connectReplication(ctx context.Context) (*pgconn.PgConn, error) {
	config := s.conn.Config.Copy()
	for name, value := range map[string]string{
		"replication":                         "database",
		"application_name":                    s.application(),
		"statement_timeout":                   "0", // creating a slot may take hours
		"lock_timeout":                        "0",
		"idle_session_timeout":                "0",
		"idle_in_transaction_session_timeout": "0",
	} {
		config.RuntimeParams[name] = value
	}
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, s.connectFault(err)
	}
	return conn, nil
}

// application names our sessions, so that whoever meets a busy slot sees who
// holds it.
func (s settings) application() string { return "runnel/" + s.Pipeline }

// address is what errors may say of the URL: never the password.
func (s settings) address() string {
	return fmt.Sprintf("%s@%s/%s", s.conn.User,
		net.JoinHostPort(s.conn.Host, strconv.Itoa(int(s.conn.Port))), s.conn.Database)
}

// connectFault says what a failure to connect means.
func (s settings) connectFault(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		if fault := pgfault.TLS(err, s.conn.TLSConfig); fault != nil {
			return fault.At("%s", s.address())
		}
		return ErrUnreachable.Wrap(pgfault.Root(err), "cannot connect").At("%s", s.address())
	}
	var code *fault.Code
	switch {
	case pg.Code == "28P01" || pg.Code == "28000":
		code = ErrAuth
	case pg.Code == "3D000":
		code = ErrNoDatabase
	case pg.Code == "42501" && strings.Contains(strings.ToLower(pg.Message), "wal"):
		return ErrNoReplication.New("role %s may not replicate", s.conn.User).At("%s", s.address()).
			Fix("As a superuser:\n  ALTER ROLE %s REPLICATION;", pgx.Identifier{s.conn.User}.Sanitize())
	case pg.Code == "53300" && strings.Contains(pg.Message, "max_wal_senders"):
		code = ErrNoWALSender
	default:
		code = ErrUnreachable
	}
	return code.Wrap(pgText(pg), "cannot connect").At("%s", s.address())
}

// queryFault gives an error of an SQL statement its code, if it has one.
func queryFault(err error, what string) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return fmt.Errorf("%s: %w", what, err)
	}
	switch pg.Code {
	case "42501":
		return ErrGrant.Wrap(pgText(pg), "%s", what)
	case "42P01", "3F000", "42703":
		return ErrNoOutbox.Wrap(pgText(pg), "%s", what)
	case "53400": // of temporary files, too
		if !strings.HasPrefix(pg.Routine, "ReplicationSlot") { // messages are translated
			break
		}
		return ErrNoSlot.Wrap(pgText(pg), "%s", what)
	case "55006":
		return ErrSlotBusy.Wrap(pgText(pg), "%s", what)
	}
	return fmt.Errorf("%s: %w", what, pgText(pg))
}

// streamFault gives an error that the walsender sent its code.
func streamFault(pg *pgconn.PgError, slot string) error {
	text := pgText(pg)
	switch {
	case pg.Code == "55006":
		return ErrSlotBusy.Wrap(text, "slot %s", slot)
	case pg.Code == "42704" && strings.Contains(pg.Message, "publication"):
		return ErrPublication.Wrap(text, "slot %s", slot)
	case pg.Code == "42704":
		return ErrSlotMissing.Wrap(text, "slot %s", slot)
	case pg.Code == "58P01", pg.Code == "55000" && strings.Contains(pg.Message, "slot"):
		return ErrSlotLost.Wrap(text, "slot %s", slot)
	case pg.Code == "42501":
		return ErrGrant.Wrap(text, "slot %s", slot)
	}
	return fmt.Errorf("the server ended the stream of slot %s: %w", slot, text)
}

// serverError keeps a PgError in the chain with a text that also holds its
// detail, which often is the useful half.
type serverError struct{ *pgconn.PgError }

func pgText(pg *pgconn.PgError) error { return serverError{pg} }

func (e serverError) Error() string {
	text := fmt.Sprintf("%s (SQLSTATE %s)", e.Message, e.Code)
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

func (e serverError) Unwrap() error { return e.PgError }

// asPgError decodes the body of an ErrorResponse.
func asPgError(body []byte) (*pgconn.PgError, error) {
	var response pgproto3.ErrorResponse
	if err := response.Decode(body); err != nil {
		return nil, ErrStream.Wrap(err, "an unreadable error message")
	}
	return pgconn.ErrorResponseToPgError(&response), nil
}

// closeSQL ends a session within closeLimit; a lost one is as good.
func closeSQL(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	_ = conn.Close(ctx)
}

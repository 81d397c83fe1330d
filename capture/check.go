package capture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/internal/pgfault"
)

// Server is what of the source's server decides whether it can be captured.
type Server struct {
	Version    int    // server_version_num
	VersionIs  string // as people write it
	WALLevel   string
	Standby    bool
	Role       string // ours
	Replicates bool   // the role may
	Superuser  bool   // the role is one

	timeout time.Duration // wal_sender_timeout; 0 is none
}

// ReadServer looks at the server, with any role.
func ReadServer(ctx context.Context, conn *pgx.Conn) (Server, error) {
	var sv Server
	var milliseconds int64
	err := conn.QueryRow(ctx, `
		select current_setting('server_version_num')::int, current_setting('server_version'),
			current_setting('wal_level'), pg_is_in_recovery(), current_user::text, r.rolreplication or r.rolsuper, r.rolsuper,
			(select setting::bigint from pg_settings where name = 'wal_sender_timeout')
		from pg_roles r where r.rolname = current_user`).
		Scan(&sv.Version, &sv.VersionIs, &sv.WALLevel, &sv.Standby, &sv.Role, &sv.Replicates, &sv.Superuser, &milliseconds)
	if err != nil {
		return Server{}, queryFault(err, "read the server's settings")
	}
	sv.timeout = time.Duration(milliseconds) * time.Millisecond
	return sv, nil
}

// Check says what keeps this server from being captured, the plainest first.
func (sv Server) Check() error {
	return cmp.Or(sv.CheckVersion(), sv.CheckWALLevel(), sv.CheckReplication())
}

// CheckVersion refuses a server that is too old, and a standby.
func (sv Server) CheckVersion() error {
	switch {
	case sv.Version < pgfault.MinVersion:
		return ErrTooOld.New("the server is Postgres %s", sv.VersionIs)
	case sv.Standby:
		return ErrStandby.New("the server is in recovery")
	}
	return nil
}

// CheckWALLevel refuses a server whose WAL cannot be decoded.
func (sv Server) CheckWALLevel() error {
	if sv.WALLevel != "logical" {
		return ErrWALLevel.New("wal_level is %s", sv.WALLevel)
	}
	return nil
}

// CheckReplication refuses a role that may not replicate.
func (sv Server) CheckReplication() error {
	if !sv.Replicates {
		return ErrNoReplication.New("role %s may not replicate", sv.Role).
			Fix("As a superuser:\n  ALTER ROLE %s REPLICATION;", pgx.Identifier{sv.Role}.Sanitize())
	}
	return nil
}

// grants are the rights that capture needs on the tables of the schema runnel.
var grants = []struct {
	table, rights string
}{
	{"outbox", "SELECT"},
	{"control", ""},
	{"pipeline", "SELECT,INSERT,UPDATE"},
	{"epoch", "SELECT,INSERT"},
	{"progress", "SELECT,INSERT,UPDATE"},
	{"progress_partition", "SELECT,INSERT,UPDATE"},
}

// checkTables looks for the tables in the catalog, which needs no right.
func checkTables(ctx context.Context, conn *pgx.Conn, role string) error {
	var oids []uint32
	for _, g := range grants {
		var oid uint32
		err := conn.QueryRow(ctx, `select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
			where n.nspname = 'runnel' and c.relname = $1 and c.relkind in ('r', 'p')`, g.table).Scan(&oid)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrNoOutbox.New("table runnel.%s is missing", g.table)
		}
		if err != nil {
			return queryFault(err, "look for the outbox")
		}
		oids = append(oids, oid)
	}
	var usage bool
	if err := conn.QueryRow(ctx, `select has_schema_privilege('runnel', 'USAGE')`).Scan(&usage); err != nil {
		return queryFault(err, "check grants")
	}
	if !usage {
		return grantFault(role, "schema runnel", "USAGE", "SCHEMA runnel")
	}
	for i, g := range grants {
		for right := range strings.SplitSeq(g.rights, ",") {
			if right == "" {
				continue
			}
			var ok bool
			if err := conn.QueryRow(ctx, `select has_table_privilege($1::oid, $2)`, oids[i], right).Scan(&ok); err != nil {
				return queryFault(err, "check grants")
			}
			if !ok {
				return grantFault(role, "table runnel."+g.table, right, "runnel."+g.table)
			}
		}
	}
	return nil
}

func grantFault(role, what, right, on string) error {
	return ErrGrant.New("role %s lacks %s on %s", role, right, what).
		Fix("Run `runnel init` again, or as the owner:\n  GRANT %s ON %s TO %s;", right, on, pgx.Identifier{role}.Sanitize())
}

// senderTimeout reads wal_sender_timeout on the replication connection, where
// settings of the role or the database show.
func senderTimeout(ctx context.Context, conn *pgconn.PgConn) (time.Duration, error) {
	results, err := conn.Exec(ctx, "select setting from pg_settings where name = 'wal_sender_timeout'").ReadAll()
	if err != nil {
		return 0, queryFault(err, "read wal_sender_timeout")
	}
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return 0, ErrStream.New("no answer to a query on the replication connection")
	}
	d, err := time.ParseDuration(string(results[0].Rows[0][0]) + "ms")
	if err != nil {
		return 0, fmt.Errorf("read wal_sender_timeout: %w", err)
	}
	return d, nil
}

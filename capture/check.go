package capture

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// minVersion is the oldest server_version_num.
const minVersion = 150000

// server is what the checks look at.
type server struct {
	version    int
	versionStr string
	walLevel   string
	standby    bool
	role       string
	replicates bool          // the role may
	timeout    time.Duration // wal_sender_timeout; 0 is none
}

func readServer(ctx context.Context, conn *pgx.Conn) (server, error) {
	var sv server
	var milliseconds int64
	err := conn.QueryRow(ctx, `
		select current_setting('server_version_num')::int, current_setting('server_version'),
			current_setting('wal_level'), pg_is_in_recovery(), current_user::text,
			(select rolreplication or rolsuper from pg_roles where rolname = current_user),
			(select setting::bigint from pg_settings where name = 'wal_sender_timeout')`).
		Scan(&sv.version, &sv.versionStr, &sv.walLevel, &sv.standby, &sv.role, &sv.replicates, &milliseconds)
	if err != nil {
		return server{}, queryFault(err, "read the server's settings")
	}
	sv.timeout = time.Duration(milliseconds) * time.Millisecond
	return sv, nil
}

// check says what keeps this server from being captured, the plainest first.
func (sv server) check() error {
	switch {
	case sv.version < minVersion:
		return ErrTooOld.New("the server is Postgres %s", sv.versionStr)
	case sv.standby:
		return ErrStandby.New("the server is in recovery")
	case sv.walLevel != "logical":
		return ErrWALLevel.New("wal_level is %s", sv.walLevel)
	case !sv.replicates:
		return ErrNoReplication.New("role %s may not replicate", sv.role).
			Fix("As a superuser:\n  ALTER ROLE %s REPLICATION;", pgx.Identifier{sv.role}.Sanitize())
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

package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/pgfault"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/outbox"
)

var postgresChecks = []Check{
	{Name: "postgres", About: "the source database answers and lets us in", Run: checkPostgres},
	{Name: "postgres-version", About: "the server is new enough, and the primary", Needs: []string{"postgres"}, Run: checkVersion},
	{Name: "wal-level", About: "the server writes what logical replication needs", Needs: []string{"postgres"}, Run: checkWALLevel},
	{Name: "replication-right", About: "the role may replicate", Needs: []string{"postgres"}, Run: checkReplication},
	{Name: "walsenders", About: "replication connections and slots are free", Needs: []string{"postgres"}, Run: checkSenders},
	{Name: "outbox", About: "the schema runnel is there, in this version", Needs: []string{"postgres", "postgres-version"}, Run: checkOutbox},
	{Name: "grants", About: "the role may do what the daemon does", Needs: []string{"outbox"}, Run: checkGrants},
	{Name: "publication", About: "the publication holds the outbox's inserts", Needs: []string{"outbox"}, Run: checkPublication},
	{Name: "default-partition", About: "partitions are made ahead", Needs: []string{"outbox"}, Run: checkDefaultPartition},
}

func checkPostgres(ctx context.Context, s *Session) (string, error) {
	pg, err := wire.Postgres(ctx, s.cfg, "doctor")
	if err != nil {
		return "", err
	}
	s.pg = pg
	c := pg.Config()
	return fmt.Sprintf("%s at %s:%d, database %s", c.User, c.Host, c.Port, c.Database), nil
}

func checkVersion(ctx context.Context, s *Session) (string, error) {
	var number int
	var text string
	var standby bool
	err := s.pg.QueryRow(ctx, `select current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery()`).
		Scan(&number, &text, &standby)
	if err != nil {
		return "", queryFault(err, "read the server's version")
	}
	return judgeVersion(number, text, standby)
}

func judgeVersion(number int, text string, standby bool) (string, error) {
	switch {
	case number < pgfault.MinVersion:
		return "", capture.ErrTooOld.New("the server is Postgres %s", text)
	case standby:
		return "", capture.ErrStandby.New("the server is in recovery")
	}
	return "Postgres " + text + ", primary", nil
}

func checkWALLevel(ctx context.Context, s *Session) (string, error) {
	var level string
	if err := s.pg.QueryRow(ctx, `select current_setting('wal_level')`).Scan(&level); err != nil {
		return "", queryFault(err, "read wal_level")
	}
	return judgeWALLevel(level)
}

func judgeWALLevel(level string) (string, error) {
	if level != "logical" {
		return "", capture.ErrWALLevel.New("wal_level is %s", level)
	}
	return "wal_level is logical", nil
}

func checkReplication(ctx context.Context, s *Session) (string, error) {
	var role string
	var may, super bool
	err := s.pg.QueryRow(ctx, `select rolname::text, rolreplication or rolsuper, rolsuper from pg_roles where rolname = current_user`).
		Scan(&role, &may, &super)
	switch {
	case err != nil:
		return "", queryFault(err, "read the role")
	case !may:
		return "", capture.ErrNoReplication.New("role %s may not replicate", role).
			Fix("As a superuser:\n  ALTER ROLE %s REPLICATION;", pgx.Identifier{role}.Sanitize())
	case super:
		return "role " + role + " may replicate (as a superuser; runnel_daemon needs no such right)", nil
	}
	return "role " + role + " may replicate", nil
}

func checkSenders(ctx context.Context, s *Session) (string, error) {
	var senders, maxSenders, slots, maxSlots int
	var ours bool
	err := s.pg.QueryRow(ctx, `select
		(select count(*) from pg_stat_activity where backend_type = 'walsender'), current_setting('max_wal_senders')::int,
		(select count(*) from pg_replication_slots), current_setting('max_replication_slots')::int,
		exists (select from pg_replication_slots where slot_name = $1)`, s.cfg.Capture.Slot).
		Scan(&senders, &maxSenders, &slots, &maxSlots, &ours)
	if err != nil {
		return "", queryFault(err, "count replication connections")
	}
	return judgeSenders(senders, maxSenders, slots, maxSlots, ours)
}

// judgeSenders takes how many are taken of how many; ours: our slot is there.
func judgeSenders(senders, maxSenders, slots, maxSlots int, ours bool) (string, error) {
	saw := fmt.Sprintf("%d of %d replication connections and %d of %d slots are taken", senders, maxSenders, slots, maxSlots)
	switch {
	case slots >= maxSlots && !ours:
		return "", capture.ErrNoSlot.New("%s", saw)
	case senders >= maxSenders && !ours:
		return "", capture.ErrNoWALSender.New("%s", saw)
	case maxSenders-senders < 2:
		return "", warning{ErrSendersShort.New("%s", saw)}
	}
	return saw, nil
}

func checkOutbox(ctx context.Context, s *Session) (string, error) {
	migrations, err := outbox.Migrations()
	if err != nil {
		return "", ErrCheck.Wrap(err, "read the migrations")
	}
	version, err := outboxVersion(ctx, s.pg)
	switch latest := len(migrations); {
	case err != nil:
		return "", err
	case version < latest:
		return "", ErrOutboxVersion.New("the outbox has version %d, this binary needs %d", version, latest).
			Fix("Run `runnel init` with this binary.")
	case version > latest:
		return "", warning{ErrOutboxVersion.New("the outbox has version %d, this binary knows %d", version, latest).
			Fix("Use the newer binary that `runnel init` was run with.")}
	}
	return fmt.Sprintf("schema runnel, version %d", version), nil
}

func outboxVersion(ctx context.Context, pg *pgx.Conn) (int, error) {
	var there bool
	err := pg.QueryRow(ctx, `select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where n.nspname = 'runnel' and c.relname = 'schema_version')`).Scan(&there)
	if err != nil {
		return 0, queryFault(err, "look for the outbox")
	}
	if !there {
		return 0, capture.ErrNoOutbox.New("the database has no schema runnel")
	}
	var version int
	err = pg.QueryRow(ctx, `select coalesce(max(version), 0) from runnel.schema_version`).Scan(&version)
	return version, queryFault(err, "read the outbox's version")
}

// daemonTables are the tables that the daemon uses, and how.
var daemonTables = []struct{ table, rights string }{
	{"outbox", "SELECT"}, {"event_type", "SELECT"}, {"pipeline", "SELECT,INSERT,UPDATE"}, {"epoch", "SELECT,INSERT"},
	{"progress", "SELECT,INSERT,UPDATE"}, {"progress_partition", "SELECT,INSERT,UPDATE"},
}

func checkGrants(ctx context.Context, s *Session) (string, error) {
	role := s.pg.Config().User
	quoted := pgx.Identifier{role}.Sanitize()
	var missing, fix []string
	for _, t := range daemonTables {
		for right := range strings.SplitSeq(t.rights, ",") {
			var ok bool
			if err := s.pg.QueryRow(ctx, `select has_table_privilege('runnel.' || $1, $2)`, t.table, right).Scan(&ok); err != nil {
				return "", queryFault(err, "look at grants")
			}
			if !ok {
				missing = append(missing, right+" on runnel."+t.table)
				fix = append(fix, fmt.Sprintf("  GRANT %s ON runnel.%s TO %s;", right, t.table, quoted))
			}
		}
	}
	if len(missing) > 0 {
		return "", capture.ErrGrant.New("role %s lacks %s", role, strings.Join(missing, ", ")).
			Fix("As the owner:\n%s", strings.Join(fix, "\n"))
	}
	return "role " + role + " has the daemon's rights", nil
}

func checkPublication(ctx context.Context, s *Session) (string, error) {
	var all, insert, update, del, truncate, root bool
	err := s.pg.QueryRow(ctx, `select puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot
		from pg_publication where pubname = $1`, outbox.Publication).Scan(&all, &insert, &update, &del, &truncate, &root)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", capture.ErrPublication.New("publication %s does not exist", outbox.Publication)
	}
	if err != nil {
		return "", queryFault(err, "look for the publication")
	}
	rows, err := s.pg.Query(ctx, `select schemaname || '.' || tablename from pg_publication_tables where pubname = $1 order by 1`, outbox.Publication)
	if err != nil {
		return "", queryFault(err, "read the publication")
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", queryFault(err, "read the publication")
	}
	const name = outbox.Publication
	switch want := []string{"runnel.control", "runnel.outbox"}; {
	case !insert || update || del || truncate || !root:
		return "", capture.ErrPublication.New("publication %s must publish inserts only, through the partition root", name).
			Fix("As its owner:\n  ALTER PUBLICATION %s SET (publish = 'insert', publish_via_partition_root = true);", name)
	case all || !slices.Equal(tables, want):
		return "", capture.ErrPublication.New("publication %s holds %s", name, strings.Join(tables, ", ")).
			Fix("As its owner:\n  ALTER PUBLICATION %s SET TABLE runnel.outbox, runnel.control;", name)
	}
	return "publication " + name + " holds " + strings.Join(tables, ", "), nil
}

// checkDefaultPartition looks at the file's size: rows there are never deleted,
// and counting them would read every partition.
func checkDefaultPartition(ctx context.Context, s *Session) (string, error) {
	var size int64
	var ahead int
	err := s.pg.QueryRow(ctx, `select
		coalesce((select pg_relation_size(c.oid) from pg_class c join pg_namespace n on n.oid = c.relnamespace
			where n.nspname = 'runnel' and c.relname = 'outbox_default'), 0),
		(select count(*) from pg_inherits where inhparent = 'runnel.outbox'::regclass)`).Scan(&size, &ahead)
	if err != nil {
		return "", queryFault(err, "look at the partitions")
	}
	if size > 0 {
		return "", warning{ErrDefaultPartition.New("the default partition holds rows (%s)", FormatBytes(size))}
	}
	return Count(ahead, "partition") + ", the default one is empty", nil
}

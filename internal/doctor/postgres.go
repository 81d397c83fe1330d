package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/pipeline"
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

// server asks about the server once, as capture does.
func (s *Session) server(ctx context.Context) (capture.Server, error) {
	if s.seen == nil {
		sv, err := capture.ReadServer(ctx, s.pg)
		if err != nil {
			return sv, queryFault(err, "read the server's settings")
		}
		s.seen = &sv
	}
	return *s.seen, nil
}

func checkVersion(ctx context.Context, s *Session) (string, error) {
	sv, err := s.server(ctx)
	if err != nil {
		return "", err
	}
	return "Postgres " + sv.VersionIs + ", primary", sv.CheckVersion()
}

func checkWALLevel(ctx context.Context, s *Session) (string, error) {
	sv, err := s.server(ctx)
	if err != nil {
		return "", err
	}
	return "wal_level is " + sv.WALLevel, sv.CheckWALLevel()
}

func checkReplication(ctx context.Context, s *Session) (string, error) {
	sv, err := s.server(ctx)
	if err != nil {
		return "", err
	}
	saw := "role " + sv.Role + " may replicate"
	if sv.Superuser {
		saw += " (as a superuser; runnel_daemon needs no such right)"
	}
	return saw, sv.CheckReplication()
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
	version, latest, err := outbox.Versions(ctx, s.pg)
	if err != nil {
		return "", queryFault(err, "look for the outbox")
	}
	if version > latest { // a daemon of this version goes on
		return "", warning{pipeline.ErrOutboxVersion.New("the outbox has version %d, this binary knows %d", version, latest).
			Fix("Use the newer binary that `runnel init` was run with.")}
	}
	return fmt.Sprintf("schema runnel, version %d", version), pipeline.CheckOutboxVersion(version, latest)
}

func checkGrants(ctx context.Context, s *Session) (string, error) {
	role := s.pg.Config().User
	missing, err := outbox.MissingForDaemon(ctx, s.pg)
	if err != nil {
		return "", queryFault(err, "look at grants")
	}
	if len(missing) == 0 {
		return "role " + role + " has the daemon's rights", nil
	}
	var lacks, fix []string
	for _, r := range missing {
		lacks = append(lacks, r.String())
		fix = append(fix, fmt.Sprintf("  GRANT %s ON %s %s TO %s;", r.Privilege, strings.ToUpper(r.Kind), r.Object, pgx.Identifier{role}.Sanitize()))
	}
	return "", capture.ErrGrant.New("role %s lacks %s", role, strings.Join(lacks, ", ")).
		Fix("Run `runnel init` again, or as the owner:\n%s", strings.Join(fix, "\n"))
}

func checkPublication(ctx context.Context, s *Session) (string, error) {
	if err := capture.CheckPublication(ctx, s.pg, outbox.Publication); err != nil {
		return "", queryFault(err, "look at the publication")
	}
	return "publication " + outbox.Publication + " holds the inserts of the outbox, in full", nil
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

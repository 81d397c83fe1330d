package capture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// published are the tables that the publication must hold, and no other.
var published = []string{"runnel.control", "runnel.outbox"}

// CheckPublication refuses a publication that is missing, or that publishes
// anything else than the inserts of the tables in full.
func CheckPublication(ctx context.Context, conn *pgx.Conn, name string) error {
	var all, insert, update, del, truncate, root bool
	err := conn.QueryRow(ctx, `select puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot
		from pg_publication where pubname = $1`, name).Scan(&all, &insert, &update, &del, &truncate, &root)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrPublication.New("publication %s does not exist", name)
	}
	if err != nil {
		return queryFault(err, "look for the publication")
	}
	quoted := pgx.Identifier{name}.Sanitize()
	if !insert || update || del || truncate || !root {
		return ErrPublication.New("publication %s must publish inserts only, through the partition root", name).
			Fix("As its owner:\n  ALTER PUBLICATION %s SET (publish = 'insert', publish_via_partition_root = true);", quoted)
	}
	rows, err := conn.Query(ctx, `select schemaname || '.' || tablename, rowfilter is not null,
			(select count(*) from pg_attribute a where a.attrelid = format('%I.%I', schemaname, tablename)::regclass
				and a.attnum > 0 and not a.attisdropped and a.attgenerated = '') <> coalesce(cardinality(attnames), 0)
		from pg_publication_tables where pubname = $1 order by 1`, name)
	if err != nil {
		return queryFault(err, "read the publication")
	}
	var tables, narrowed []string
	var table string
	var filtered, listed bool
	if _, err := pgx.ForEachRow(rows, []any{&table, &filtered, &listed}, func() error {
		tables = append(tables, table)
		if filtered || listed {
			narrowed = append(narrowed, table)
		}
		return nil
	}); err != nil {
		return queryFault(err, "read the publication")
	}
	set := fmt.Sprintf("As its owner:\n  ALTER PUBLICATION %s SET TABLE runnel.outbox, runnel.control;", quoted)
	if all {
		return ErrPublication.New("publication %s is for all tables", name)
	}
	for _, want := range published {
		if !slices.Contains(tables, want) {
			return ErrPublication.New("publication %s lacks %s", name, want).Fix("%s", set)
		}
	}
	if len(tables) != len(published) {
		return ErrPublication.New("publication %s holds other tables: %s", name, strings.Join(tables, ", ")).Fix("%s", set)
	}
	if len(narrowed) > 0 {
		return ErrPublication.New("publication %s has a row filter or a column list on %s",
			name, strings.Join(narrowed, ", ")).Fix("%s", set)
	}
	return nil
}

// readPublication returns the publication's state: a text that differs after
// every change, also after one that was undone, because a row's xmin and oid
// never come back. xmax shows a change whose commit is still waiting for a
// standby, when later ones may be visible already.
//
// What is written while a publication is narrower is not in the stream, or not
// as rows of the outbox, whatever the publication is afterwards.
func readPublication(ctx context.Context, db querier, name string) (state string, err error) {
	err = db.QueryRow(ctx, `
		with p as (select oid, xmin, xmax from pg_publication where pubname = $1)
		select coalesce(string_agg(part, ' ' order by part), '') from (
			select format('publication:%s:%s:%s', oid, xmin, xmax) from p
			union all select format('table:%s:%s:%s', t.oid, t.xmin, t.xmax) from pg_publication_rel t join p on p.oid = t.prpubid
			union all select format('schema:%s:%s:%s', n.oid, n.xmin, n.xmax) from pg_publication_namespace n join p on p.oid = n.pnpubid
		) parts (part)`, name).Scan(&state)
	if err != nil {
		return "", queryFault(err, "look at the publication")
	}
	return state, nil
}

// unchanged compares two states of a publication.
func unchanged(name, was, is string) error {
	if was == is {
		return nil
	}
	return ErrPublication.New("publication %s was changed while it was streamed from", name).
		Fix("Leave publications alone while rows are written. If it is right again, nothing needs to be done: " +
			"the next start looks for the rows that were written meanwhile, and says if any is missing.")
}

package outbox

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/sqltext"
)

// grant is one right. The list below is all that the roles may do; the script
// and the check whether it has run are both made from it.
type grant struct {
	privilege string   // SELECT, INSERT, USAGE, EXECUTE
	kind      string   // schema, table, sequence, function, procedure
	object    string   // qualified; a function with its argument types
	columns   []string // for INSERT on some columns only
}

// writerColumns are the columns a writer may set. seq, xid and inserted_at
// decide order, confirmation and retention: they are always the defaults.
var writerColumns = []string{
	"id", "aggregate_type", "aggregate_id", "event_type", "aggregate_seq",
	"encoding", "fingerprint", "payload", "headers", "occurred_at",
}

var writerGrants = []grant{
	{privilege: "USAGE", kind: "schema", object: "runnel"},
	{privilege: "INSERT", kind: "table", object: "runnel.outbox", columns: writerColumns},
	{privilege: "USAGE", kind: "sequence", object: "runnel.outbox_seq"}, // the default of seq
	{privilege: "SELECT", kind: "table", object: "runnel.event_type"},   // the check of the statement trigger
	{privilege: "EXECUTE", kind: "function", object: "runnel.uuid7()"},  // the default of id
	{privilege: "EXECUTE", kind: "function", object: "runnel.publish(text, text, text, jsonb, jsonb)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.wal_position()"}, // Receipt.Token

	// Watched tables. Whose table it is, is checked on each row of these.
	{privilege: "SELECT, DELETE", kind: "table", object: "runnel.watched"},
	{privilege: "INSERT", kind: "table", object: "runnel.watched", columns: []string{"relation", "aggregate_type", "key", "before", "exclude", "max_bytes"}},
	{privilege: "UPDATE", kind: "table", object: "runnel.watched", columns: []string{"before", "exclude", "max_bytes"}},
	{privilege: "SELECT, INSERT, UPDATE, DELETE", kind: "table", object: "runnel.first_state"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.watch(regclass, text, text, boolean, text[], integer, boolean)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.watch(regclass, text, text[], boolean, text[], integer, boolean)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.unwatch(regclass)"},
	{privilege: "EXECUTE", kind: "procedure", object: "runnel.publish_rows(regclass, integer)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.table_schemas(regclass, text, text[], boolean, text[])"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.watch_problems(regclass)"},
	// What these call as their caller.
	{privilege: "EXECUTE", kind: "function", object: "runnel.require_watchable(regclass)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.require_registered(regclass)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.leaves(regclass)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.primary_key(regclass)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.pascal(text)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.key_fields(jsonb, text[])"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.grant_reading(runnel.watched)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.put_triggers(runnel.watched)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.close_watch(regclass)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.first_state_sql(regclass)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.publish_begin(regclass)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.row_trigger(regclass)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.find_refused(regclass, regclass, text, text, text, integer)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.publish_chunk(regclass, integer)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.event_payload(text, text, text, bigint, integer)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.refuse_value(anyelement, text, text, text)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.refuse_id(text, text)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.require_all_rows(regclass)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.check_size(text, text, bigint, integer)"},
}

var daemonGrants = []grant{
	{privilege: "USAGE", kind: "schema", object: "runnel"},
	{privilege: "SELECT", kind: "table", object: "runnel.outbox"}, // the rows before the slot, and the audit
	{privilege: "SELECT", kind: "table", object: "runnel.control"},
	{privilege: "SELECT", kind: "table", object: "runnel.event_type"},
	{privilege: "SELECT", kind: "table", object: "runnel.schema_version"},
	{privilege: "SELECT, INSERT, UPDATE", kind: "table", object: "runnel.pipeline"},
	{privilege: "SELECT, INSERT, UPDATE", kind: "table", object: "runnel.epoch"},
	{privilege: "SELECT, INSERT, UPDATE", kind: "table", object: "runnel.progress"},
	{privilege: "SELECT, INSERT, UPDATE", kind: "table", object: "runnel.progress_partition"},
	{privilege: "SELECT, INSERT, DELETE", kind: "table", object: "runnel.repair_row"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.accept_lost(text, text)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.partitions()"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.ensure_partitions(integer)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.adopt_default()"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.drop_confirmed(interval)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.register_event_types(text[], text[], bytea[])"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.withdraw_event_types(text[])"},
	{privilege: "SELECT, INSERT, UPDATE", kind: "table", object: "runnel.schema_plan"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.wal_position()"},
	{privilege: "SELECT", kind: "table", object: "runnel.watched"}, // doctor
	{privilege: "SELECT", kind: "table", object: "runnel.first_state"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.watch_problems(regclass)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.table_schemas(regclass, text, text[], boolean, text[])"},
}

// readerFunctions are what belongs to the reader; readerGrants are what they call.
var readerFunctions = []string{"runnel.read_kept(regclass, text, anyelement)", "runnel.read_rows(regclass, text)"}

var readerGrants = []grant{
	{privilege: "USAGE", kind: "schema", object: "runnel"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.require_reader()"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.require_all_rows(regclass)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.refuse_value(anyelement, text, text, text)"},
}

// writeReader hands the reader its functions: who is given one must be able to
// create in the schema at that moment, and not after it.
func writeReader(b *strings.Builder, r Roles) {
	reader := quoteName(r.Reader())
	fmt.Fprintf(b, "grant create on schema runnel to %s;\n", reader)
	for _, f := range readerFunctions {
		fmt.Fprintf(b, "alter function %s owner to %s;\nalter function %[1]s security definer set search_path = pg_catalog, pg_temp set row_security = off set extra_float_digits = 1;\n", f, reader)
	}
	fmt.Fprintf(b, "revoke create on schema runnel from %s;\n\n", reader)
}

// readerCheck is a SQL expression: the reader has its functions.
func readerCheck(r Roles) string {
	var terms []string
	for _, f := range readerFunctions {
		terms = append(terms, fmt.Sprintf("exists (select from pg_catalog.pg_proc p where p.oid = '%s'::pg_catalog.regprocedure and p.prosecdef and p.proconfig @> array['search_path=pg_catalog, pg_temp', 'row_security=off', 'extra_float_digits=1'] and p.proowner::pg_catalog.regrole = %s::pg_catalog.regrole)",
			f, sqltext.Literal(quoteName(r.Reader()))))
	}
	return strings.Join(terms, "\n and ")
}

func writeGrants(b *strings.Builder, r Roles) {
	b.WriteString("revoke all on schema runnel from public;\n" +
		"revoke all on all tables in schema runnel from public;\n" +
		"revoke all on all functions in schema runnel from public;\n" +
		"revoke all on all procedures in schema runnel from public;\n\n")
	for _, to := range r.grants() {
		for _, g := range to.grants {
			columns := ""
			if len(g.columns) > 0 {
				columns = " (" + strings.Join(g.columns, ", ") + ")"
			}
			fmt.Fprintf(b, "grant %s%s on %s %s to %s;\n",
				strings.ToLower(g.privilege), columns, g.kind, g.object, quoteName(to.role))
		}
		b.WriteString("\n")
	}
	writeReader(b, r)
}

type roleGrants struct {
	role   string
	grants []grant
}

func (r Roles) grants() []roleGrants {
	return []roleGrants{{r.Writer, writerGrants}, {r.Daemon, daemonGrants}, {r.Reader(), readerGrants}}
}

// Right is one right on one object of the schema.
type Right struct {
	Privilege string // SELECT, USAGE, EXECUTE, ...
	Kind      string // schema, table, function
	Object    string // qualified; a function with its argument types
}

// String says it in words.
func (r Right) String() string { return r.Privilege + " on " + r.Object }

// MissingForDaemon returns what db's user lacks of what the daemon's role has.
// The schema must be there in this version (see Migrations).
func MissingForDaemon(ctx context.Context, db *pgx.Conn) ([]Right, error) {
	var all []Right
	var terms []string
	for _, g := range daemonGrants {
		for privilege := range strings.SplitSeq(g.privilege, ", ") {
			all = append(all, Right{privilege, g.kind, g.object})
			terms = append(terms, fmt.Sprintf("pg_catalog.has_%s_privilege('%s', '%s')", g.kind, g.object, privilege))
		}
	}
	// Without the first, on the schema, the others cannot even be asked for.
	var missing []Right
	for _, part := range [][2]int{{0, 1}, {1, len(all)}} {
		var has []bool
		query := "select array[" + strings.Join(terms[part[0]:part[1]], ",\n ") + "]"
		if err := db.QueryRow(ctx, query).Scan(&has); err != nil {
			return nil, fmt.Errorf("look at grants: %w", err)
		}
		for i, ok := range has {
			if !ok {
				missing = append(missing, all[part[0]+i])
			}
		}
		if len(missing) > 0 {
			break
		}
	}
	return missing, nil
}

// grantsCheck is a SQL expression: all grants are there. It must not be
// evaluated before schema and roles exist.
func grantsCheck(r Roles) string {
	var terms []string
	for _, to := range r.grants() {
		role := sqltext.Literal(to.role)
		for _, g := range to.grants {
			if g.kind == "procedure" {
				g.kind = "function" // as the catalog has it
			}
			for _, privilege := range strings.Split(g.privilege, ", ") {
				if len(g.columns) == 0 {
					terms = append(terms, fmt.Sprintf("pg_catalog.has_%s_privilege(%s, '%s', '%s')", g.kind, role, g.object, privilege))
				}
				for _, c := range g.columns {
					terms = append(terms, fmt.Sprintf("pg_catalog.has_column_privilege(%s, '%s', '%s', '%s')", role, g.object, c, privilege))
				}
			}
		}
	}
	return strings.Join(terms, "\n and ")
}

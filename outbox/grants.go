package outbox

import (
	"fmt"
	"strings"
)

// grant is one right. The list below is all that the roles may do; the script
// and the check whether it has run are both made from it.
type grant struct {
	privilege string   // SELECT, INSERT, USAGE, EXECUTE
	kind      string   // schema, table, sequence, function
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
	{privilege: "EXECUTE", kind: "function", object: "runnel.partitions()"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.ensure_partitions(integer)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.adopt_default()"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.drop_confirmed(interval)"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.register_event_types(text[], text[], bytea[])"},
	{privilege: "EXECUTE", kind: "function", object: "runnel.wal_position()"},
}

func writeGrants(b *strings.Builder, r Roles) {
	b.WriteString("revoke all on schema runnel from public;\n" +
		"revoke all on all tables in schema runnel from public;\n" +
		"revoke all on all functions in schema runnel from public;\n\n")
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
}

type roleGrants struct {
	role   string
	grants []grant
}

func (r Roles) grants() []roleGrants {
	return []roleGrants{{r.Writer, writerGrants}, {r.Daemon, daemonGrants}}
}

// grantsCheck is a SQL expression: all grants are there. It must not be
// evaluated before schema and roles exist.
func grantsCheck(r Roles) string {
	var terms []string
	for _, to := range r.grants() {
		role := quoteLiteral(to.role)
		for _, g := range to.grants {
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

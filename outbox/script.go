package outbox

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/sqltext"
)

// Publication is the name of the publication that Init makes.
const Publication = "runnel"

// Roles names the three roles. Roles belong to the whole cluster, so several
// databases of one cluster share them unless the names differ.
type Roles struct {
	Owner  string // default runnel_owner: owns the schema; nobody needs to log in as it (nor as Reader)
	Writer string // default runnel_writer: may only publish; grant it to the services' roles
	Daemon string // default runnel_daemon: logs in, replicates, keeps house
}

func (r Roles) withDefaults() Roles {
	if r.Owner == "" {
		r.Owner = "runnel_owner"
	}
	if r.Writer == "" {
		r.Writer = "runnel_writer"
	}
	if r.Daemon == "" {
		r.Daemon = "runnel_daemon"
	}
	return r
}

// Reader is a role that is named after the owner: runnel_reader. It owns two
// functions, which read watched tables when they are truncated, and in a statement
// in which their own triggers change them. To plan such a query Postgres may run
// functions that are the table owner's (in its indexes, declared IMMUTABLE), so a
// role runs it that may do nothing else.
func (r Roles) Reader() string {
	return strings.TrimSuffix(r.withDefaults().Owner, "_owner") + "_reader"
}

// maxName is the longest identifier Postgres keeps whole, in bytes.
const maxName = 63

func (r Roles) validate() error {
	for _, role := range []string{r.Owner, r.Writer, r.Daemon, r.Reader()} {
		if len(role) > maxName || strings.ContainsRune(role, 0) || strings.HasPrefix(role, "pg_") || role == "public" || role == "none" {
			return ErrInvalidRoles.New("%.80q cannot name a role", role)
		}
	}
	if r.Owner == r.Writer || r.Owner == r.Daemon || r.Writer == r.Daemon {
		return ErrInvalidRoles.New("owner %q, writer %q and daemon %q must differ", r.Owner, r.Writer, r.Daemon)
	}
	if slices.Contains([]string{r.Owner, r.Writer, r.Daemon}, r.Reader()) {
		return ErrInvalidRoles.New("%q is the name of the role that reads watched tables", r.Reader())
	}
	return nil
}

// Options say what Script prints. The zero value is complete.
type Options struct {
	Roles Roles
	// NoTransaction leaves out BEGIN and COMMIT, for tools that run each
	// script in a transaction of their own.
	NoTransaction bool
}

// Script returns plain SQL that sets up the outbox: roles, schema and
// migrations, grants, publication. It is what Init executes; it is idempotent,
// and psql and migration tools can run it. It must run in one transaction. It
// sets no password.
func Script(o Options) (string, error) {
	roles := o.Roles.withDefaults()
	if err := roles.validate(); err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("-- Runnel: roles, schema, grants and publication of the outbox. Idempotent.\n")
	writePasswordNote(&b, roles)
	if !o.NoTransaction {
		b.WriteString("begin;\n\n")
	}
	b.WriteString(lockSQL)
	writeRoles(&b, roles)
	fmt.Fprintf(&b, schemaSQL, sqltext.Literal(roles.Owner), quoteName(roles.Owner))
	if err := writeMigrations(&b); err != nil {
		return "", err
	}
	writeGrants(&b, roles)
	b.WriteString("reset role;\n\n")
	fmt.Fprintf(&b, publicationSQL, quoteName(roles.Owner), sqltext.Literal(roles.Owner))
	if !o.NoTransaction {
		b.WriteString("\ncommit;\n")
	}
	return b.String(), nil
}

// GrantsScript returns the part of Script that a security review asks for: the
// roles and what each may do. It is what deploy/grants.sql holds.
func GrantsScript(r Roles) (string, error) {
	roles := r.withDefaults()
	if err := roles.validate(); err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("-- The roles of Runnel and all they may do. `runnel init` does this too; it is\n" +
		"-- idempotent, and needs schema runnel. Generated from package outbox.\n")
	writePasswordNote(&b, roles)
	b.WriteString("begin;\n\n")
	writeRoles(&b, roles)
	fmt.Fprintf(&b, "set local role %s;\n\n", quoteName(roles.Owner))
	writeGrants(&b, roles)
	b.WriteString("commit;\n")
	return b.String(), nil
}

func writePasswordNote(b *strings.Builder, r Roles) {
	fmt.Fprintf(b, "-- No passwords are set here: give %[1]s one in psql with \\password %[1]s,\n"+
		"-- or let it in by certificate. Services log in as roles of their own that are\n-- members of %[2]s.\n\n",
		quoteName(r.Daemon), quoteName(r.Writer))
}

// lockSQL serialises everything that changes the schema, in this database.
const lockSQL = "select pg_catalog.pg_advisory_xact_lock(1381322316, 1);\n\n"

// writeRoles makes the roles. CREATE ROLE can race with another database's
// init, which no advisory lock of this one sees.
func writeRoles(b *strings.Builder, r Roles) {
	b.WriteString("do $runnel$\nbegin\n")
	for _, role := range []struct{ name, attributes string }{
		{r.Owner, "nologin"}, {r.Writer, "nologin"}, {r.Daemon, "login replication"}, {r.Reader(), "nologin"},
	} {
		fmt.Fprintf(b, `    if exists (select from pg_catalog.pg_roles where rolname = %[2]s and rolsuper) then
        raise exception 'role %% is a superuser; Runnel''s roles must not be', %[2]s using errcode = '%[4]s';
    elsif not exists (select from pg_catalog.pg_roles where rolname = %[2]s) then
        begin
            create role %[1]s %[3]s;
        exception when duplicate_object or unique_violation then null;
        end;
    end if;
`, quoteName(role.name), sqltext.Literal(role.name), role.attributes, stateWrongOwner)
	}
	fmt.Fprintf(b, `    if exists (select from pg_catalog.pg_roles where rolname = %[2]s and not (rolcanlogin and rolreplication)) then
        alter role %[1]s login replication;
    end if;
    if not pg_catalog.has_database_privilege(%[2]s, pg_catalog.current_database(), 'CONNECT') then
        execute pg_catalog.format('grant connect on database %%I to %%I', pg_catalog.current_database(), %[2]s);
    end if;
    -- To create things as the owner, the current user must be a member of it.
    -- (From 16 on, membership alone does not allow SET ROLE.)
    if not pg_catalog.pg_has_role(%[3]s,
            case when pg_catalog.current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end) then
        execute pg_catalog.format('grant %%I to %%I', %[3]s, current_user);
    end if;
    -- The owner calls, and looks after, what belongs to the reader.
    if not pg_catalog.pg_has_role(%[3]s, %[4]s, 'MEMBER') then
        execute pg_catalog.format('grant %%I to %%I', %[4]s, %[3]s);
    end if;
end
$runnel$;

`, quoteName(r.Daemon), sqltext.Literal(r.Daemon), sqltext.Literal(r.Owner), sqltext.Literal(r.Reader()))
}

// schemaSQL takes the owner as a literal and as a name. What follows runs as
// the owner.
const schemaSQL = `do $runnel$
declare
    owner name := (select r.rolname from pg_catalog.pg_namespace n join pg_catalog.pg_roles r on r.oid = n.nspowner where n.nspname = 'runnel');
begin
    if owner is null then
        create schema runnel authorization %[2]s;
    elsif owner <> %[1]s then
        raise exception 'schema runnel belongs to role %%, not to %%', owner, %[1]s
            using errcode = '` + stateWrongOwner + `',
                  hint = pg_catalog.format('Name the owner role %%s, or hand the schema and all in it over to %%s.', owner, %[1]s);
    end if;
end
$runnel$;

set local role %[2]s;

`

// publicationSQL takes the owner as a name and as a literal. It runs as the
// current user, because CREATE PUBLICATION asks for CREATE on the database,
// which the owner does not keep.
const publicationSQL = `do $runnel$
begin
    if not exists (select from pg_catalog.pg_publication where pubname = 'runnel') then
        create publication runnel for table runnel.outbox, runnel.control
            with (publish = 'insert', publish_via_partition_root = true);
        if (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
            alter publication runnel owner to %[1]s;
        end if;
    elsif not (` + publicationOK + `) then
        alter publication runnel set table runnel.outbox, runnel.control;
        alter publication runnel set (publish = 'insert', publish_via_partition_root = true);
    end if;
end
$runnel$;
`

// publicationOK is true when the publication is as Init makes it: both tables,
// all columns, all rows.
const publicationOK = `exists (
        select from pg_catalog.pg_publication p
         where p.pubname = 'runnel' and p.pubinsert and p.pubviaroot
           and not (p.pubupdate or p.pubdelete or p.pubtruncate or p.puballtables)
           and (select pg_catalog.array_agg(n.nspname || '.' || c.relname order by c.relname)
                  from pg_catalog.pg_publication_rel r
                  join pg_catalog.pg_class c on c.oid = r.prrelid
                  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                 where r.prpubid = p.oid and r.prqual is null and r.prattrs is null)
               = array['runnel.control', 'runnel.outbox'])`

// writeMigrations writes each migration so that it runs only if it has not.
func writeMigrations(b *strings.Builder) error {
	all, err := Migrations()
	if err != nil {
		return err
	}
	for _, m := range all {
		tag := fmt.Sprintf("$runnel_%04d$", m.Version)
		if strings.Contains(m.SQL, tag) || strings.Contains(m.SQL, "$runnel$") {
			return fmt.Errorf("migration %04d_%s holds its own quoting tag", m.Version, m.Name)
		}
		condition := fmt.Sprintf("not exists (select from runnel.schema_version where version >= %d)", m.Version)
		if m.Version == 1 {
			condition = "pg_catalog.to_regclass('runnel.schema_version') is null"
		}
		fmt.Fprintf(b, "do $runnel$\nbegin\nif %s then\nexecute %s\n%s%s;\n"+
			"insert into runnel.schema_version (version, name) values (%d, %s);\nend if;\nend\n$runnel$;\n\n",
			condition, tag, m.SQL, tag, m.Version, sqltext.Literal(m.Name))
	}
	return nil
}

func quoteName(name string) string { return pgx.Identifier{name}.Sanitize() }

package outbox

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/schemas"
)

// InitOptions say what Init sets up. The zero value is useful.
type InitOptions struct {
	Roles Roles
	// EventTypes are registered, so that nothing else can be published. Empty:
	// the registered ones stay as they are.
	EventTypes []*schemas.EventType
}

// Step is one thing that Init looks after.
type Step struct {
	Name    string // roles, schema, grants, publication, event types
	Detail  string // what is there now
	Changed bool   // by this call
}

// Report says what Init found and did, in the order in which it was done.
type Report struct{ Steps []Step }

// Changed reports whether Init changed anything.
func (r Report) Changed() bool {
	for _, s := range r.Steps {
		if s.Changed {
			return true
		}
	}
	return false
}

// Init creates the roles, the schema with its migrations, the grants and the
// publication, or brings them up to date, in one transaction; then it
// registers the event types. It is idempotent: when all is there it changes
// nothing and needs no rights but to look.
//
// Errors: ErrPostgresTooOld, ErrWrongOwner, ErrInvalidRoles; an *AdminError
// with the script when the current user may not do what is missing, in which
// case nothing was changed. (REPLICATION can be given by a superuser only on
// 15, from 16 on by a role with CREATEROLE and REPLICATION; the publication
// needs CREATE on the database.)
func Init(ctx context.Context, db *pgx.Conn, o InitOptions) (Report, error) {
	roles := o.Roles.withDefaults()
	if err := roles.validate(); err != nil {
		return Report{}, err
	}
	if err := checkVersion(ctx, db); err != nil {
		return Report{}, err
	}
	before, err := inspect(ctx, db, roles)
	if err != nil {
		return Report{}, err
	}
	if !before.complete() {
		if err := applyScript(ctx, db, roles); err != nil {
			return Report{}, err
		}
	}
	after, err := inspect(ctx, db, roles)
	if err != nil {
		return Report{}, err
	}
	if !after.complete() {
		return Report{}, fmt.Errorf("the outbox is still incomplete after its set-up: %+v", after)
	}
	report := Report{Steps: []Step{
		{"roles", strings.Join([]string{roles.Owner, roles.Writer, roles.Daemon, roles.Reader()}, ", "), !before.roles},
		{"schema", "runnel, version " + strconv.Itoa(after.version), before.version != after.version},
		{"grants", "writer may publish, daemon may replicate and keep house", !before.grants},
		{"publication", Publication + " for runnel.outbox, runnel.control", !before.publication},
	}}
	if len(o.EventTypes) > 0 {
		added, err := RegisterEventTypes(ctx, db, o.EventTypes)
		if err != nil {
			return report, err
		}
		report.Steps = append(report.Steps, Step{
			"event types", fmt.Sprintf("%d given, %d new", len(o.EventTypes), added), added > 0})
	}
	return report, nil
}

func applyScript(ctx context.Context, db *pgx.Conn, roles Roles) error {
	script, err := Script(Options{Roles: roles, NoTransaction: true})
	if err != nil {
		return err
	}
	err = runScript(ctx, db, script)
	var admin *AdminError
	if errors.As(err, &admin) { // hers runs outside of a transaction of ours
		if admin.Script, err = Script(Options{Roles: roles}); err != nil {
			return err
		}
		return admin
	}
	return err
}

// state is what inspect found.
type state struct {
	roles       bool // all exist as they should
	version     int  // of the schema; 0: none
	latest      int
	grants      bool
	publication bool
}

func (s state) complete() bool {
	return s.roles && s.version >= s.latest && s.grants && s.publication
}

func inspect(ctx context.Context, db *pgx.Conn, r Roles) (state, error) {
	all, err := Migrations()
	if err != nil {
		return state{}, err
	}
	s := state{latest: len(all)}
	var schema, usable bool
	err = db.QueryRow(ctx, `select
		(select count(*) = 4 from pg_catalog.pg_roles
		  where rolname in ($1, $2, $3, $4) and not rolsuper and (rolname <> $3 or rolcanlogin and rolreplication)),
		exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
		         where n.nspname = 'runnel' and c.relname = 'schema_version'),
		coalesce((select pg_catalog.has_schema_privilege(n.oid, 'USAGE') from pg_catalog.pg_namespace n where n.nspname = 'runnel'), false)`,
		r.Owner, r.Writer, r.Daemon, r.Reader()).Scan(&s.roles, &schema, &usable)
	if err != nil {
		return s, fmt.Errorf("look for the outbox: %w", err)
	}
	if !schema || !usable {
		return s, nil
	}
	var readable bool
	if err := db.QueryRow(ctx, "select pg_catalog.has_table_privilege('runnel.schema_version', 'SELECT')").Scan(&readable); err != nil {
		return s, fmt.Errorf("look for the outbox's version: %w", err)
	}
	if !readable {
		return s, nil
	}
	if err := db.QueryRow(ctx, "select coalesce(max(version), 0) from runnel.schema_version").Scan(&s.version); err != nil {
		return s, fmt.Errorf("read the outbox's version: %w", err)
	}
	if s.version < s.latest || !s.roles {
		return s, nil
	}
	if err := db.QueryRow(ctx, "select "+grantsCheck(r)+"\n and "+readerCheck(r)+",\n "+publicationOK).Scan(&s.grants, &s.publication); err != nil {
		return s, fmt.Errorf("look at grants and publication: %w", err)
	}
	return s, nil
}

package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/internal/doctor"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/outbox"
)

// initResult is what init found and did, or would do.
type initResult struct {
	DryRun  bool       `json:"dry_run"`
	Changed bool       `json:"changed"`
	Steps   []initStep `json:"steps"`
	// Script is the SQL that sets everything up: asked for by --show-sql, or
	// what an administrator must run.
	Script string `json:"script,omitempty"`
}

type initStep struct {
	Name    string `json:"name"`
	Detail  string `json:"detail"`
	Changed bool   `json:"changed"`
}

func (r initResult) text(p *printer) {
	if r.Script != "" {
		p.print("%s", r.Script)
		if len(r.Steps) == 0 {
			return
		}
	}
	rows := [][]string{}
	for _, s := range r.Steps {
		state := "as it was"
		switch {
		case s.Changed && r.DryRun:
			state = "to do"
		case s.Changed:
			state = "done"
		}
		prefix := ""
		if r.Script != "" { // the output may be piped into psql
			prefix = "-- "
		}
		rows = append(rows, []string{prefix + s.Name, state, clean(s.Detail)})
	}
	p.table(rows, nil)
}

type initFlags struct {
	dryRun, showSQL bool
}

func initSpec() *spec {
	var f initFlags
	return &spec{
		use:   "init",
		short: "Create or upgrade the outbox",
		long: `Creates roles, the schema runnel with the outbox, and the publication, or brings
them up to date. It is idempotent. When the user lacks a right, the script for an
administrator is printed and the exit code is 3.

With --schemas it also registers the event types that may be published, before a
daemon has published from this database. Later it would admit events that no
topic's schema holds, and leaves that to runnel schemas apply.

--dry-run changes nothing and says what is to do. --show-sql prints the SQL;
together they print it for other migration tools and connect to nothing.`,
		example: `  runnel init --postgres postgres://postgres@localhost/shop --schemas ./schemas
  runnel init --dry-run --show-sql > runnel.sql
  runnel init --dry-run`,
		flags: func(cmd *cobra.Command) {
			cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "change nothing")
			cmd.Flags().BoolVar(&f.showSQL, "show-sql", false, "print the SQL")
			addRoleFlags(cmd)
		},
		run: func(ctx context.Context, c *call) (any, error) { return runInit(ctx, c, f) },
	}
}

func addRoleFlags(cmd *cobra.Command) {
	cmd.Flags().String("role-owner", "runnel_owner", "`role` that owns the schema (RUNNEL_ROLES_OWNER)")
	cmd.Flags().String("role-writer", "runnel_writer", "`role` that may publish (RUNNEL_ROLES_WRITER)")
	cmd.Flags().String("role-daemon", "runnel_daemon", "`role` of the daemon (RUNNEL_ROLES_DAEMON)")
}

func runInit(ctx context.Context, c *call, f initFlags) (any, error) {
	result := initResult{DryRun: f.dryRun, Steps: []initStep{}}
	cfg, err := c.config()
	if err != nil {
		return nil, err
	}
	options := outbox.InitOptions{Roles: outbox.Roles(cfg.Roles)}
	if f.showSQL {
		script, err := outbox.Script(outbox.Options{Roles: options.Roles})
		if err != nil {
			return nil, err
		}
		if result.Script = script; f.dryRun {
			return result, nil
		}
	}
	if err := cfg.Need("postgres.url"); err != nil {
		return nil, err
	}
	if cfg.Schemas != "" {
		catalog, err := wire.Catalog(cfg.Schemas)
		if err != nil {
			return nil, err
		}
		options.EventTypes = catalog.Events()
	}
	if f.dryRun {
		report, err := c.deps.doctor(ctx, cfg, "outbox", "publication")
		if err != nil {
			return nil, err
		}
		return dryRun(result, report)
	}
	conn, err := c.deps.postgres(ctx, cfg, "init")
	if err != nil {
		return nil, err
	}
	defer wire.Close(conn)
	begun, err := published(ctx, conn)
	if err != nil {
		return nil, err
	}
	given := len(options.EventTypes)
	if begun {
		options.EventTypes = nil
	}
	report, err := outbox.Init(ctx, conn, options)
	if begun && given > 0 && err == nil {
		report.Steps = append(report.Steps, outbox.Step{Name: "event types", Detail: fmt.Sprintf("%d given, left to `runnel schemas apply`: a daemon publishes already", given)})
	}
	for _, s := range report.Steps {
		result.Steps = append(result.Steps, initStep(s))
	}
	result.Changed = report.Changed()
	var admin *outbox.AdminError
	if errors.As(err, &admin) {
		result.Script = admin.Script
	}
	if err != nil && result.Script == "" && len(result.Steps) == 0 {
		return nil, err
	}
	return result, err
}

// published reports whether a daemon has begun to publish from the database. From then on
// a type that is admitted before its schema is registered halts that daemon.
func published(ctx context.Context, db *pgx.Conn) (begun bool, err error) {
	var there bool
	if err = db.QueryRow(ctx, "select to_regclass('runnel.pipeline') is not null").Scan(&there); err == nil && there {
		err = db.QueryRow(ctx, "select exists (select from runnel.pipeline)").Scan(&begun)
	}
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "42501" {
		return false, nil // who may not look may not set up either, and is told so
	}
	if err != nil {
		return false, wire.QueryFault(err, "look for a pipeline")
	}
	return begun, nil
}

// dryRun tells from the doctor's findings what init would do.
func dryRun(result initResult, report doctor.Report) (any, error) {
	for _, r := range report.Results {
		switch {
		case r.Name != "outbox" && r.Name != "publication" && r.Status == doctor.Fail:
			return nil, r.Err()
		case r.Name == "outbox" || r.Name == "publication":
			todo := r.Status == doctor.Fail || r.Status == doctor.Skip
			if r.Status == doctor.Skip {
				r.Message = "comes with the outbox"
			}
			result.Steps = append(result.Steps, initStep{r.Name, r.Message, todo})
			result.Changed = result.Changed || todo
		}
	}
	if len(result.Steps) == 0 {
		return nil, fmt.Errorf("the checks found nothing to tell")
	}
	return result, nil
}

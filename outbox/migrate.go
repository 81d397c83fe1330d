package outbox

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/internal/pgfault"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// Migration is one numbered step of the schema. Once released, a migration
// never changes; later versions only add.
type Migration struct {
	Version int    // from 1, dense
	Name    string // as in the file name: 0001_tables.sql is "tables"
	SQL     string // names no role; runs as the owner, in a transaction
}

// Migrations returns all migrations in order.
func Migrations() ([]Migration, error) {
	files, err := migrationFiles.ReadDir("migrations")
	if err != nil {
		return nil, fmt.Errorf("embedded migrations: %w", err)
	}
	var all []Migration
	for i, f := range files { // ReadDir sorts by name
		number, name, ok := strings.Cut(strings.TrimSuffix(f.Name(), ".sql"), "_")
		version, err := strconv.Atoi(number)
		if !ok || err != nil || version != i+1 {
			return nil, fmt.Errorf("embedded migration %s: want number %04d", f.Name(), i+1)
		}
		sql, err := migrationFiles.ReadFile(path.Join("migrations", f.Name()))
		if err != nil {
			return nil, fmt.Errorf("embedded migration %s: %w", f.Name(), err)
		}
		all = append(all, Migration{Version: version, Name: name, SQL: string(sql)})
	}
	return all, nil
}

// Versions returns the version of the schema runnel in db, 0 when there is none,
// and the latest that this package knows.
func Versions(ctx context.Context, db *pgx.Conn) (have, latest int, err error) {
	all, err := Migrations()
	if err != nil {
		return 0, 0, err
	}
	var there bool
	err = db.QueryRow(ctx, `select exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
		where n.nspname = 'runnel' and c.relname = 'schema_version')`).Scan(&there)
	if err == nil && there {
		err = db.QueryRow(ctx, "select coalesce(max(version), 0) from runnel.schema_version").Scan(&have)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read the outbox's version: %w", err)
	}
	return have, len(all), nil
}

// Migrate creates the schema runnel or brings it up to date, as the schema's
// owner when it exists and as the current user when not, in one transaction
// under an advisory lock: it is idempotent, and any number of programs may
// call it at the same time. A database that a newer version has migrated is
// left as it is.
//
// Migrate knows no roles and makes no publication; Init does both and includes
// Migrate.
//
// Errors: ErrPostgresTooOld; ErrNeedsAdmin when the current user may not.
func Migrate(ctx context.Context, db *pgx.Conn) error {
	if err := checkVersion(ctx, db); err != nil {
		return err
	}
	script, err := migrateScript()
	if err != nil {
		return err
	}
	return runScript(ctx, db, script)
}

// migrateScript is Migrate's script: like Script, without roles.
func migrateScript() (string, error) {
	var b strings.Builder
	b.WriteString(lockSQL)
	b.WriteString(`do $runnel$
declare
    owner name := (select r.rolname from pg_catalog.pg_namespace n join pg_catalog.pg_roles r on r.oid = n.nspowner where n.nspname = 'runnel');
begin
    if owner is null then
        create schema runnel;
    elsif owner <> current_user then
        execute pg_catalog.format('set local role %I', owner);
    end if;
end
$runnel$;

`)
	if err := writeMigrations(&b); err != nil {
		return "", err
	}
	return b.String(), nil
}

// runScript executes a script in one transaction and translates its errors.
func runScript(ctx context.Context, db *pgx.Conn, script string) error {
	tx, err := db.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // no effect after Commit
	// ERROR and WARNING only: "already exists, skipping" is no news.
	if _, err := tx.Exec(ctx, "set local client_min_messages = warning"); err != nil {
		return fmt.Errorf("set client_min_messages: %w", err)
	}
	if _, err := db.PgConn().Exec(ctx, script).ReadAll(); err != nil {
		return scriptError(err, script)
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

func scriptError(err error, script string) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return fmt.Errorf("set up the outbox: %w", err)
	}
	switch pg.Code {
	case "42501": // insufficient_privilege
		return &AdminError{
			Fault:  ErrNeedsAdmin.Wrap(err, "the current user may not set up the outbox"),
			Script: script,
		}
	case stateWrongOwner:
		return ErrWrongOwner.Wrap(err, "schema runnel").Fix("%s", pg.Hint)
	}
	return fmt.Errorf("set up the outbox: %w", err)
}

func checkVersion(ctx context.Context, db *pgx.Conn) error {
	var number int
	var text string
	const query = "select current_setting('server_version_num')::int, current_setting('server_version')"
	if err := db.QueryRow(ctx, query).Scan(&number, &text); err != nil {
		return fmt.Errorf("read the server's version: %w", err)
	}
	return refuseOld(number, text)
}

func refuseOld(number int, text string) error {
	if number < pgfault.MinVersion {
		return ErrPostgresTooOld.New("this server is Postgres %s", text)
	}
	return nil
}

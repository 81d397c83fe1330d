package pgtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// drop removes what the test left: slots first, because a database with a
// slot cannot be dropped; roles last, because they may own things in it.
func (db *DB) drop(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), statementTimeout)
	defer cancel()
	conn, err := db.reconnect(ctx)
	if err != nil {
		t.Errorf("clean up database %s: %v", db.name, err)
		return
	}
	defer closeConn(t, conn)
	if err := db.dropSlots(ctx, conn); err != nil {
		t.Errorf("drop slots of %s: %v", db.name, err)
	}
	if _, err := conn.Exec(ctx, "drop database if exists "+db.name+" with (force)"); err != nil {
		t.Errorf("drop database %s: %v", db.name, err)
	}
	if err := db.dropRoles(ctx, conn); err != nil {
		t.Errorf("drop roles of %s: %v", db.name, err)
	}
}

// reconnect waits for the server: a test may have just restarted it.
func (db *DB) reconnect(ctx context.Context) (*pgx.Conn, error) {
	var conn *pgx.Conn
	err := poll(ctx, func() (done bool, err error) {
		conn, err = pgx.Connect(ctx, db.server.String())
		return err == nil, err
	})
	return conn, err
}

// dropSlots ends the walsenders of the database and drops its slots, also
// those that were left half made.
func (db *DB) dropSlots(ctx context.Context, conn *pgx.Conn) error {
	return poll(ctx, func() (bool, error) {
		_, err := conn.Exec(ctx, `select pg_terminate_backend(active_pid) from pg_replication_slots
			where database = $1 and active_pid is not null`, db.name)
		if err != nil {
			return false, err
		}
		// A walsender that creates a slot holds it without being in the view yet.
		_, err = conn.Exec(ctx, `select pg_terminate_backend(pid) from pg_stat_activity
			where datname = $1 and backend_type = 'walsender'`, db.name)
		if err != nil {
			return false, err
		}
		if _, err = conn.Exec(ctx, `select pg_drop_replication_slot(slot_name) from pg_replication_slots
			where database = $1 and active_pid is null`, db.name); err != nil {
			return false, err
		}
		var left int
		err = conn.QueryRow(ctx, `select (select count(*) from pg_replication_slots where database = $1)
			+ (select count(*) from pg_stat_activity where datname = $1 and backend_type = 'walsender')`, db.name).Scan(&left)
		return err == nil && left == 0, err
	})
}

func (db *DB) dropRoles(ctx context.Context, conn *pgx.Conn) error {
	// Those that granted a membership last: it goes with the role that was granted.
	rows, err := conn.Query(ctx, `select r.rolname::text from pg_roles r where starts_with(r.rolname, $1)
		order by exists (select from pg_auth_members m where m.grantor = r.oid)`, db.Prefix())
	if err != nil {
		return err
	}
	roles, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, role := range roles {
		if _, err := conn.Exec(ctx, "drop role "+pgx.Identifier{role}.Sanitize()); err != nil {
			return err
		}
	}
	return nil
}

// poll calls step every 20 ms until it is done or ctx ends, and then returns
// its last error.
func poll(ctx context.Context, step func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := step()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

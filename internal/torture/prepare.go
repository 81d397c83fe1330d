package torture

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/outbox"
)

// truthSlot is the independent slot, and its publication.
const truthSlot = "torture_truth"

// prepare makes the databases, the slot that watches from the beginning, and the
// rows that are there before the daemon's first start.
func (r *runner) prepare(ctx context.Context) error {
	admin, err := pgx.Connect(ctx, r.stack.PostgresURL)
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close(context.WithoutCancel(ctx)) }()
	for _, sql := range []string{
		"alter system set wal_sender_timeout = '3s'", // a stopped daemon's connection is dropped soon
		"alter system set deadlock_timeout = '200ms'",
		"select pg_reload_conf()",
		"create database source", "create database target",
	} {
		if _, err := admin.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	if r.source, err = inDatabase(r.stack.PostgresURL, "source", nil); err != nil {
		return err
	}
	if r.target, err = inDatabase(r.stack.PostgresURL, "target", nil); err != nil {
		return err
	}
	target, err := pgx.Connect(ctx, r.target)
	if err != nil {
		return err
	}
	r.version = 1
	_, err = target.Exec(ctx, effectTables)
	if err := errors.Join(err, target.Close(ctx)); err != nil {
		return err
	}
	db, err := pgx.Connect(ctx, r.source)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	if _, err := outbox.Init(ctx, db, outbox.InitOptions{EventTypes: events()}); err != nil {
		return err
	}
	if err := r.makeRole(ctx, db); err != nil {
		return err
	}
	for _, sql := range []string{
		truthTables,
		"create publication " + truthSlot + " for table runnel.outbox, runnel.control with (publish = 'insert', publish_via_partition_root = true)",
		"select pg_create_logical_replication_slot('" + truthSlot + "', 'pgoutput')",
	} {
		if _, err := db.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return r.writeBefore(ctx)
}

// makeRole lets the daemon's role log in: it is no superuser.
func (r *runner) makeRole(ctx context.Context, db *pgx.Conn) error {
	secret := make([]byte, 18)
	if _, err := rand.Read(secret); err != nil {
		return err
	}
	password := hex.EncodeToString(secret)
	const role = "runnel_daemon"
	if _, err := db.Exec(ctx, "alter role "+role+" login password '"+password+"'"); err != nil {
		return err
	}
	var err error
	r.asRole, err = inDatabase(r.stack.PostgresURL, "source", url.UserPassword(role, password))
	return err
}

// inDatabase returns the address of another database or user of the same server.
func inDatabase(address, name string, user *url.Userinfo) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", errors.New("the address of Postgres is not a URL")
	}
	u.Path = "/" + name
	if user != nil {
		u.User = user
	}
	return u.String(), nil
}

// writeBefore writes the events that the initial snapshot will hold.
func (r *runner) writeBefore(ctx context.Context) error {
	load := newWorkload(r.source, r.o.Seed, time.Second, r.say)
	w := &writer{workload: load, name: "before", rand: mathrand.New(mathrand.NewPCG(r.o.Seed, 99))}
	var err error
	if w.db, err = pgx.Connect(ctx, r.source); err != nil {
		return err
	}
	defer w.hangUp(ctx)
	const atOnce = 100
	for i := 0; i*atOnce < r.o.Before; i++ {
		all := w.drafts(atOnce, i%2 == 0)
		if err := w.transact(ctx, func(tx pgx.Tx) error { return insert(ctx, tx, fmt.Sprintf("before-%d", i), all) }); err != nil {
			return err
		}
	}
	return nil
}

package demo

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/examples/quickstart"
	"github.com/runnel-cdc/runnel/examples/quickstart/orders"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// database is a database of the demo, and how each party gets in.
type database struct {
	name       string
	adminURL   string // superuser
	serviceURL string // the service that owns the tables
	daemonURL  string // source only
}

// prepare starts the servers that are missing, makes the databases and roles,
// and starts the daemon.
func (d *demo) prepare(ctx context.Context) (err error) {
	if d.dir, err = os.MkdirTemp("", "runnel-demo-"); err != nil {
		return err
	}
	d.later(func(context.Context) error { return os.RemoveAll(d.dir) })
	if err := d.startServers(ctx); err != nil {
		return err
	}
	if err := d.writeSchemas(); err != nil {
		return err
	}
	suffix := make([]byte, 4)
	if _, err := rand.Read(suffix); err != nil {
		return err
	}
	id := hex.EncodeToString(suffix)
	if err := d.makeSource(ctx, "orders_"+id); err != nil {
		return fmt.Errorf("prepare the database of the orders: %w", err)
	}
	if err := d.makeCopy(ctx, "fulfilment_"+id); err != nil {
		return fmt.Errorf("prepare the database of the copy: %w", err)
	}
	began := time.Now()
	d.later(d.dropNamespace) // the daemon makes it
	if err := d.startDaemon(ctx); err != nil {
		return err
	}
	d.say.pair("daemon", fmt.Sprintf("http://%s/metrics  (streaming after %.1f s)", d.daemon.http, time.Since(began).Seconds()))
	return nil
}

// namespace is the demo's own, so that it disturbs nothing on given servers.
func (d *demo) namespace() string { return "public/" + d.source.name }

func (d *demo) writeSchemas() error {
	files, err := fs.Sub(quickstart.Schemas, "schemas")
	if err != nil {
		return err
	}
	return os.CopyFS(filepath.Join(d.dir, "schemas"), files)
}

// makeSource creates the orders' database: roles without superuser (owner,
// writer, daemon, reader), the outbox, and a service that may only publish.
func (d *demo) makeSource(ctx context.Context, name string) error {
	roles := outbox.Roles{Owner: name + "_owner", Writer: name + "_writer", Daemon: name + "_daemon"}
	if err := d.makeDatabase(ctx, &d.source, name, roles.Owner, roles.Writer, roles.Daemon, roles.Reader()); err != nil {
		return err
	}
	db, err := pgx.Connect(ctx, d.source.adminURL)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	catalog, err := schemas.Load(quickstart.Schemas, "schemas")
	if err != nil {
		return err
	}
	if _, err := outbox.Init(ctx, db, outbox.InitOptions{Roles: roles, EventTypes: catalog.Events()}); err != nil {
		return err
	}
	if d.source.daemonURL, err = setPassword(ctx, db, d.source.adminURL, roles.Daemon); err != nil {
		return err
	}
	service := name + "_service"
	_, err = db.Exec(ctx, "grant "+quote(roles.Writer)+" to "+quote(service)+"; set role "+quote(service)+"; "+orders.Schema+"; reset role")
	return err
}

// makeCopy creates the copy's database, owned by its service.
func (d *demo) makeCopy(ctx context.Context, name string) error {
	return d.makeDatabase(ctx, &d.copy, name)
}

// makeDatabase creates a database and the login of its service; roles are those
// that must be gone in the end as well.
func (d *demo) makeDatabase(ctx context.Context, to *database, name string, roles ...string) error {
	admin, err := pgx.Connect(ctx, d.Servers.PostgresURL)
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close(context.WithoutCancel(ctx)) }()
	service := name + "_service"
	d.later(func(ctx context.Context) error {
		return dropDatabase(ctx, d.Servers.PostgresURL, name, append(roles, service))
	})
	if _, err := admin.Exec(ctx, "create role "+quote(service)+" login"); err != nil {
		return err
	}
	if _, err := admin.Exec(ctx, "create database "+quote(name)+" owner "+quote(service)); err != nil {
		return err
	}
	to.name = name
	if to.adminURL, err = withDatabase(d.Servers.PostgresURL, name, nil); err != nil {
		return err
	}
	to.serviceURL, err = setPassword(ctx, admin, to.adminURL, service)
	return err
}

// setPassword gives a role a password of its own and returns its address.
func setPassword(ctx context.Context, admin *pgx.Conn, address, role string) (string, error) {
	secret := make([]byte, 18)
	if _, err := rand.Read(secret); err != nil {
		return "", err
	}
	password := hex.EncodeToString(secret)
	// The hex digits of a random number: no quoting can go wrong.
	if _, err := admin.Exec(ctx, "alter role "+quote(role)+" login password '"+password+"'"); err != nil {
		return "", err
	}
	return withDatabase(address, "", url.UserPassword(role, password))
}

func withDatabase(address, name string, user *url.Userinfo) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("the address of Postgres is not a URL")
	}
	if name != "" {
		u.Path = "/" + name
	}
	if user != nil {
		u.User = user
	}
	return u.String(), nil
}

// dropDatabase drops a database with its slots, and roles.
func dropDatabase(ctx context.Context, address, name string, roles []string) error {
	admin, err := pgx.Connect(ctx, address)
	if err != nil {
		return fmt.Errorf("drop the database %s: %w", name, err)
	}
	defer func() { _ = admin.Close(ctx) }()
	rows, err := admin.Query(ctx, `select slot_name from pg_replication_slots where database = $1`, name)
	if err != nil {
		return err
	}
	slots, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, slot := range slots {
		if _, err := admin.Exec(ctx, `select pg_drop_replication_slot($1)`, slot); err != nil {
			return err
		}
	}
	if _, err := admin.Exec(ctx, "drop database if exists "+quote(name)+" with (force)"); err != nil {
		return err
	}
	for _, role := range roles {
		if _, err := admin.Exec(ctx, "drop role if exists "+quote(role)); err != nil {
			return err
		}
	}
	return nil
}

// dropNamespace deletes the demo's topics.
func (d *demo) dropNamespace(ctx context.Context) error {
	client, err := d.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	return client.DropNamespace(ctx, d.namespace())
}

func (d *demo) dial(ctx context.Context) (*broker.Pulsar, error) {
	return broker.Dial(ctx, broker.Config{
		URL: d.Servers.PulsarURL, AdminURL: d.Servers.PulsarAdminURL, Name: "runnel demo",
		// As the daemon and the projection take them from the environment.
		TokenFile: os.Getenv("RUNNEL_PULSAR_TOKEN_FILE"), CAFile: os.Getenv("RUNNEL_PULSAR_CA_FILE"),
	})
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// freeAddress returns a loopback address that was free a moment ago.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

package pgtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-cdc/runnel/internal/testserver"
)

// statementTimeout bounds every statement of the helpers, so that a lock held
// by a broken test fails that test instead of hanging the run.
const statementTimeout = 60 * time.Second

// DB is a fresh database. It is safe for concurrent use.
type DB struct {
	name   string
	server *url.URL
}

// URL returns the superuser's URL of the server, or skips the test.
func URL(t testing.TB) string {
	t.Helper()
	return testserver.Address(t, testserver.Postgres)
}

// New creates a database with a random name. When the test ends its slots are
// dropped, its sessions ended, and it and the roles whose names begin with
// its Prefix are dropped.
func New(t testing.TB) *DB {
	t.Helper()
	return NewOn(t, URL(t))
}

// NewOn is New on another server, given by its superuser's URL.
func NewOn(t testing.TB, serverURL string) *DB {
	t.Helper()
	server, err := url.Parse(serverURL)
	if err != nil {
		t.Fatal("the server's address is not a URL") // the cause would print the password
	}
	db := &DB{name: "t_" + randomHex(t), server: server}
	ctx, cancel := context.WithTimeout(context.Background(), statementTimeout)
	defer cancel()
	admin := connect(ctx, t, db.server.String())
	defer closeConn(t, admin)
	// template0 admits no sessions, so that tests never wait for each other's.
	if _, err := admin.Exec(ctx, "create database "+db.name+" template template0"); err != nil {
		t.Fatalf("create database: %v", err)
	}
	// Of an outbox's daily partitions, which take most of the time to make one.
	if _, err := admin.Exec(ctx, "alter database "+db.name+" set runnel.days_ahead = '2'"); err != nil {
		t.Fatalf("alter database: %v", err)
	}
	t.Cleanup(func() { db.drop(t) })
	return db
}

// Name returns the database's name, 18 lower-case letters, digits and _.
func (db *DB) Name() string { return db.name }

// Prefix returns what the names of the test's roles and slots should begin with.
// It needs no quoting in SQL.
func (db *DB) Prefix() string { return db.name + "_" }

// Role returns a cluster-wide unique name for a role: Prefix and name. It does
// not create the role.
func (db *DB) Role(name string) string { return db.Prefix() + name }

// Slot returns a cluster-wide unique name for a replication slot. It does not
// create the slot.
func (db *DB) Slot(name string) string { return db.Prefix() + name }

// URL returns the database's URL for the superuser.
func (db *DB) URL() string { return db.url(db.server.User) }

// At returns the database as it is on another server, such as a standby that took over.
// What the test makes there is not removed.
func (db *DB) At(serverURL string) *DB {
	other := *db
	u, err := url.Parse(serverURL)
	if err != nil {
		panic("pgtest: " + err.Error())
	}
	other.server = u
	return &other
}

// URLAs returns the database's URL for role. Without a password none is in it.
func (db *DB) URLAs(role string, password ...string) string {
	if len(password) > 0 {
		return db.url(url.UserPassword(role, password[0]))
	}
	return db.url(url.User(role))
}

func (db *DB) url(user *url.Userinfo) string {
	u := *db.server
	u.User = user
	u.Path = "/" + db.name
	return u.String()
}

// CreateRole creates the role Role(name) with LOGIN, a random password and
// the given attributes (such as "replication"), and returns its URL.
func (db *DB) CreateRole(t testing.TB, name string, attributes ...string) string {
	t.Helper()
	password := randomHex(t)
	db.Exec(t, fmt.Sprintf("create role %s login password '%s' %s",
		db.Role(name), password, strings.Join(attributes, " ")))
	return db.URLAs(db.Role(name), password)
}

// Conn opens a connection as the superuser, closed when the test ends.
func (db *DB) Conn(t testing.TB) *pgx.Conn {
	t.Helper()
	return Conn(t, db.URL())
}

// Conn opens a connection to any URL, closed when the test ends.
func Conn(t testing.TB, rawURL string) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), statementTimeout)
	defer cancel()
	conn := connect(ctx, t, rawURL)
	t.Cleanup(func() { closeConn(t, conn) })
	return conn
}

// Pool opens a pool as the superuser, closed when the test ends.
func (db *DB) Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return Pool(t, db.URL())
}

// Pool opens a pool to any URL, closed when the test ends.
func Pool(t testing.TB, rawURL string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(context.Background(), rawURL)
	if err != nil {
		t.Fatalf("open pool: %v", err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// Exec runs sql as the superuser on a connection of its own. Without args it
// may hold several statements.
func (db *DB) Exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), statementTimeout)
	defer cancel()
	conn := connect(ctx, t, db.URL())
	defer closeConn(t, conn)
	if _, err := conn.Exec(ctx, sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Value returns the one column of the one row that sql gives, read as the
// superuser on a connection of its own.
func Value[T any](t testing.TB, db *DB, sql string, args ...any) T {
	t.Helper()
	values := Values[T](t, db, sql, args...)
	if len(values) != 1 {
		t.Fatalf("%s: %d rows, want 1", sql, len(values))
	}
	return values[0]
}

// Values returns the one column of all rows that sql gives, read as the
// superuser on a connection of its own.
func Values[T any](t testing.TB, db *DB, sql string, args ...any) []T {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), statementTimeout)
	defer cancel()
	conn := connect(ctx, t, db.URL())
	defer closeConn(t, conn)
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	values, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return values
}

func connect(ctx context.Context, t testing.TB, rawURL string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(ctx, rawURL)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	return conn
}

// closeConn ends a session; one that the test itself had ended is no failure.
func closeConn(t testing.TB, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := conn.Close(ctx); err != nil {
		t.Logf("close connection: %v", err)
	}
}

func randomHex(t testing.TB) string {
	t.Helper()
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b[:])
}

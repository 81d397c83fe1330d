package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/testserver"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// Roles, schema, grants and publication are made once; again changes nothing.
func ExampleInit() {
	ctx := context.Background()
	db, stop := exampleDatabase()
	defer stop()
	conn := db.connect() // conn, err := pgx.Connect(ctx, url)
	for range 2 {
		report, err := outbox.Init(ctx, conn, outbox.InitOptions{Roles: db.roles}) // or the default names of roles
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(report.Steps[len(report.Steps)-1].Detail, report.Changed())
	}
	// Output:
	// runnel for runnel.outbox, runnel.control true
	// runnel for runnel.outbox, runnel.control false
}

// Migrate makes the schema and no roles: what a service's own tests need.
func ExampleMigrate() {
	ctx := context.Background()
	db, stop := exampleDatabase()
	defer stop()
	conn := db.connect()
	if err := outbox.Migrate(ctx, conn); err != nil {
		fmt.Println(err)
		return
	}
	var newest bool
	all, _ := outbox.Migrations()
	err := conn.QueryRow(ctx, "select max(version) = $1 from runnel.schema_version", len(all)).Scan(&newest)
	fmt.Println(newest, err)
	// Output: true <nil>
}

// From the first event type that is registered, all others are refused.
func ExampleRegisterEventTypes() {
	ctx := context.Background()
	db, stop := exampleOutbox()
	defer stop()
	conn := db.connect()
	catalog := []*schemas.EventType{orderPlaced} // catalog.Events() of a schemas.Catalog
	added, err := outbox.RegisterEventTypes(ctx, conn, catalog)
	fmt.Println(added, err)

	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := outbox.Publish(ctx, tx, outbox.Event{AggregateID: "42", Payload: OrderShipped{Parcels: 2}})
		return err
	})
	fmt.Println(errors.Is(err, outbox.ErrSchemaNotApplied))
	// Output:
	// 1 <nil>
	// true
}

// `runnel schemas apply` withdraws what was taken out of the catalog.
func ExampleWithdrawEventTypes() {
	ctx := context.Background()
	db, stop := exampleOutbox()
	defer stop()
	conn := db.connect()
	_, err := outbox.RegisterEventTypes(ctx, conn, []*schemas.EventType{orderPlaced, OrderShipped{}.EventType()})
	fmt.Println(err, outbox.WithdrawEventTypes(ctx, conn, "OrderShipped"))
	types, err := outbox.EventTypes(ctx, conn)
	for _, t := range types {
		fmt.Println(t.Name, t.AggregateType)
	}
	fmt.Println(err)
	// Output:
	// <nil> <nil>
	// OrderPlaced order
	// <nil>
}

// With database/sql, and any driver.
func ExamplePublishSQL() {
	ctx := context.Background()
	db, stop := exampleOutbox()
	defer stop()
	pool, err := sql.Open("pgx", db.URL())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = pool.Close() }()
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = tx.Rollback() }() // no effect after Commit
	receipt, err := outbox.PublishSQL(ctx, tx, outbox.Event{AggregateID: "42", Payload: OrderShipped{Parcels: 2}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(receipt.IDs), tx.Commit())
	// Output: 1 <nil>
}

// A broker that admits smaller messages.
func ExamplePublisher() {
	p := outbox.Publisher{MaxBytes: 8}
	_, err := p.Publish(context.Background(), nil, outbox.Event{AggregateID: "order-42", Payload: OrderShipped{Parcels: 2}})
	fmt.Println(errors.Is(err, outbox.ErrTooLarge))
	// Output: true
}

// The daemon does this each hour: partitions for the days to come are there, and
// old ones go once every pipeline has confirmed them.
func ExampleHousekeeper() {
	db, stop := exampleOutbox()
	defer stop()
	h := outbox.Housekeeper{
		Connect:   func(ctx context.Context) (*pgx.Conn, error) { return pgx.Connect(ctx, db.URL()) },
		Retention: 14 * 24 * time.Hour,
		DaysAhead: 60,
	}
	done, err := h.RunOnce(context.Background()) // or Run, until the context ends
	fmt.Println(done.Created > 0, len(done.Dropped), err)
	// Output: true 0 <nil>
}

// The schemas of a table's events, before it is watched: `runnel schemas gen avsc`
// writes them as files.
func ExampleTableSchemas() {
	db, stop := exampleOutbox()
	defer stop()
	db.run("create type tier as enum ('basic', 'gold')")
	db.run("create table customers (id int primary key, name text not null, tier tier, note text)")
	all, err := outbox.TableSchemas(context.Background(), db.connect(), "public.customers", outbox.TableOptions{
		AggregateType: "customer", Exclude: []string{"note"}})
	for _, s := range all {
		fmt.Println(s.Name, !s.Fingerprint.IsZero())
	}
	fmt.Println(all[2].Definition, err)
	// Output:
	// RowOperation false
	// CustomerTier false
	// CustomerRow false
	// CustomerKey false
	// CustomerChanged true
	// CustomerDeleted true
	// {"type":"record","name":"CustomerRow","fields":[{"name":"id","type":"int"},{"name":"name","type":"string"},{"name":"tier","type":["null","CustomerTier"],"default":null}]} <nil>
}

// What is watched, and what an ALTER TABLE since asks for.
func ExampleWatchedTables() {
	db, stop := exampleOutbox()
	defer stop()
	db.run("create table customers (id int primary key, name text not null)")
	db.run("select runnel.watch('customers', aggregate => 'customer')")
	db.run("alter table customers add tier text")
	tables, err := outbox.WatchedTables(context.Background(), db.connect())
	for _, t := range tables {
		fmt.Println(t.Name, t.AggregateType, t.Key)
		for _, p := range t.Problems {
			fmt.Println(p.Fatal, errors.Is(p.Err(), outbox.ErrTableAltered), p.Message)
		}
	}
	fmt.Println(err)
	// Output:
	// public.customers customer [id]
	// true true table public.customers was altered: column tier has joined and is not in the events; CustomerRow needs {"name":"tier","type":["null","string"],"default":null}
	// <nil>
}

// TestMain leaves out the examples that need a database where there is none, as an
// example cannot skip itself.
func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(testserver.Postgres) == "" && os.Getenv(testserver.Servers) != "required" {
		_ = flag.Set("test.skip", "^Example(Init|Migrate|RegisterEventTypes|WithdrawEventTypes|PublishSQL|Housekeeper|TableSchemas|WatchedTables)$")
	}
	os.Exit(m.Run())
}

// exampleServer is a fresh database; its roles are named after it.
type exampleServer struct {
	*box
	t *exampleTest
}

func exampleDatabase() (exampleServer, func()) {
	t := &exampleTest{}
	db := pgtest.New(t)
	return exampleServer{&box{DB: db, roles: testRoles(db)}, t}, t.stop
}

func exampleOutbox() (exampleServer, func()) {
	t := &exampleTest{}
	return exampleServer{newBox(t), t}, t.stop
}

func (s exampleServer) connect() *pgx.Conn { return s.Conn(s.t) }
func (s exampleServer) run(sql string)     { s.Exec(s.t, sql) }

// exampleTest stands in for the test that an example does not have.
type exampleTest struct {
	testing.TB
	cleanups []func()
}

func (*exampleTest) Helper()                           {}
func (*exampleTest) Context() context.Context          { return context.Background() }
func (*exampleTest) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (*exampleTest) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (t *exampleTest) Cleanup(f func())                { t.cleanups = append(t.cleanups, f) }

func (t *exampleTest) stop() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
}

package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// source is a database with an outbox.
type source struct {
	url    string // of the superuser
	daemon string // of the daemon's role
	event  *schemas.EventType
	insert string // statement that writes events by their numbers
}

// newSource makes a database.
func (r *rig) newSource(ctx context.Context, name string) (*source, error) {
	if err := execute(ctx, r.stack.PostgresURL, "create database "+pgx.Identifier{name}.Sanitize()); err != nil {
		return nil, err
	}
	s := &source{event: r.event, insert: insertTimed}
	var err error
	if s.url, err = address(r.stack.PostgresURL, name, nil); err != nil {
		return nil, err
	}
	db, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	if _, err := outbox.Init(ctx, db, outbox.InitOptions{EventTypes: []*schemas.EventType{r.event}}); err != nil {
		return nil, err
	}
	secret := make([]byte, 18)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	password := hex.EncodeToString(secret)
	const role = "runnel_daemon"
	if _, err := db.Exec(ctx, "alter role "+role+" login password '"+password+"'; "+fillProcedure); err != nil {
		return nil, err
	}
	s.daemon, err = address(r.stack.PostgresURL, name, url.UserPassword(role, password))
	return s, err
}

// address is that of another database or user of the same server.
func address(of, database string, user *url.Userinfo) (string, error) {
	u, err := url.Parse(of)
	if err != nil {
		return "", errors.New("the address of Postgres is not a URL")
	}
	u.Path = "/" + database
	if user != nil {
		u.User = user
	}
	return u.String(), nil
}

func execute(ctx context.Context, address string, statements ...string) error {
	db, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	for _, sql := range statements {
		if _, err := db.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

func value[T any](ctx context.Context, address, sql string, args ...any) (v T, err error) {
	db, err := pgx.Connect(ctx, address)
	if err != nil {
		return v, err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	if err := db.QueryRow(ctx, sql, args...).Scan(&v); err != nil {
		return v, fmt.Errorf("%s: %w", sql, err)
	}
	return v, nil
}

// withoutPassword takes the password out of an address.
func withoutPassword(address string) (without, password string, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", "", errors.New("the address of Postgres is not a URL")
	}
	password, _ = u.User.Password()
	u.User = url.User(u.User.Username())
	return u.String(), password, nil
}

package devstack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5/pgconn"
)

// PrepareStandby makes the folder o.Dir that of a hot standby of s's Postgres, which
// Up then starts: it streams through the physical slot of that name, takes over the
// slots for failover, and can be promoted. Its data are a cold copy: s's server is
// stopped for it, and started again.
func (s *Stack) PrepareStandby(ctx context.Context, dir, slot string) (err error) {
	s.mu.Lock()
	primary := s.state.Postgres
	s.mu.Unlock()
	if primary == nil {
		return ErrNotOurs.New("the server was not started by this stack")
	}
	as, err := postgresAccount()
	if err != nil {
		return err
	}
	standby := &Stack{}
	if standby.dir, err = makeDir(dir); err != nil {
		return err
	}
	if standby.guard, err = newGuard(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, standby.guard.release()) }()
	p := &postgresState{Version: primary.Version, Bin: primary.Bin}
	if p.Base, err = standby.postgresBase(as); err != nil {
		return err
	}
	if err := s.StopPostgres(ctx); err != nil {
		return err
	}
	data := filepath.Join(p.Base, "data")
	err = copyCluster(filepath.Join(primary.Base, "data"), data, as)
	if err := errors.Join(err, s.StartPostgres(ctx)); err != nil {
		return err
	}
	address, err := pgconn.ParseConfig(s.PostgresURL)
	if err != nil {
		return errors.New("the server's address is not to be read")
	}
	settings, err := os.OpenFile(filepath.Join(data, "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(settings, "primary_conninfo = 'host=%s port=%d user=%s password=%s dbname=%s'\nprimary_slot_name = '%s'\nhot_standby_feedback = on\n%s",
		address.Host, address.Port, address.User, address.Password, address.Database, slot, syncSlots(primary.Version))
	signal := filepath.Join(data, "standby.signal")
	err = errors.Join(err, settings.Close(), os.WriteFile(signal, nil, 0o600), as.own(signal))
	if err != nil {
		return err
	}
	password, err := os.ReadFile(filepath.Join(s.dir, passwordFile))
	if err != nil {
		return err
	}
	return errors.Join(replaceFile(filepath.Join(standby.dir, passwordFile), password), state{Postgres: p}.save(standby.dir))
}

// syncSlots are the settings that make a standby take over slots: from 17 on.
func syncSlots(version string) string {
	if version == "15" || version == "16" {
		return ""
	}
	return "sync_replication_slots = on\n"
}

// copyCluster copies the data of a server that is stopped.
func copyCluster(from, to string, as account) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	// Slots are left behind, as pg_basebackup does.
	slots := filepath.Join(to, "pg_replslot")
	if err := errors.Join(os.RemoveAll(slots), os.Mkdir(slots, 0o700)); err != nil {
		return err
	}
	return filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := os.FileMode(0o600)
		if d.IsDir() {
			mode = 0o700
		}
		return errors.Join(os.Chmod(path, mode), as.own(path))
	})
}

// PromotePostgres makes a standby the primary, on a timeline of its own, and returns
// when it takes writes.
func (s *Stack) PromotePostgres(ctx context.Context) error {
	conn, err := pgconn.Connect(ctx, s.PostgresURL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, "select pg_promote(true, 60)").ReadAll()
	return err
}

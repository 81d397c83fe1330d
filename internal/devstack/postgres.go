package devstack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/deploy"
)

// superuser is the name of the local server's superuser.
const superuser = "postgres"

// preparePostgres finds the programs and makes the cluster, unless it is there.
func (s *Stack) preparePostgres(ctx context.Context, version string) (*postgresState, error) {
	as, err := postgresAccount()
	if err != nil {
		return nil, err
	}
	p := &postgresState{}
	if s.state.Postgres != nil {
		*p = *s.state.Postgres // a copy: the state may be saved meanwhile
	}
	made := ""
	if p.Base != "" {
		if made, err = clusterVersion(filepath.Join(p.Base, "data")); err != nil {
			return nil, err
		}
	}
	if made != "" {
		if version != "" && version != made {
			return nil, ErrFolder.New("the data here is of Postgres %s, asked is %s", made, version).At("%s", s.dir)
		}
		version = made
	}
	found, err := findPostgres(ctx, version)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(p.Base); p.Base == "" || errors.Is(err, fs.ErrNotExist) {
		if p.Base, err = s.postgresBase(as); err != nil {
			return nil, err
		}
		if err := s.record(func() error { s.state.Postgres = p; return nil }); err != nil {
			return nil, err
		}
	}
	p.Version = strconv.Itoa(found.major)
	if p.Bin, err = reachablePrograms(found.bin, p.Base, as); err != nil {
		return nil, err
	}
	if made == "" {
		if err := s.initdb(ctx, p, as); err != nil {
			return nil, err
		}
	}
	if p.Port == 0 {
		ports, err := freePorts(1)
		if err != nil {
			return nil, err
		}
		p.Port = ports[0]
	}
	return p, nil
}

// postgresBase makes the folder of the data: in the stack's folder, or in the
// system's folder for temporary files when the server's user cannot get there.
func (s *Stack) postgresBase(as account) (string, error) {
	base := filepath.Join(s.dir, postgresDir)
	var err error
	if as.reaches(s.dir) {
		err = os.MkdirAll(base, 0o700)
	} else {
		base, err = os.MkdirTemp("", "runnel-postgres-")
	}
	if err == nil {
		err = errors.Join(s.guard.remove(base), as.own(base))
	}
	if err != nil {
		return "", ErrFolder.Wrap(err, "make the folder of the data").At("%s", s.dir)
	}
	return base, nil
}

// reachablePrograms returns bin, or a copy of its installation below base when
// the server's user cannot get to it (a cache in root's home).
func reachablePrograms(bin, base string, as account) (string, error) {
	if as.reaches(bin) {
		return bin, nil
	}
	to := filepath.Join(base, "install")
	err := os.RemoveAll(to)
	if err == nil {
		err = os.CopyFS(to, os.DirFS(filepath.Dir(bin)))
	}
	if err == nil {
		err = filepath.WalkDir(to, func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, as.uid, as.gid))
		})
	}
	if err != nil {
		return "", ErrFolder.Wrap(err, "copy Postgres's programs").At("%s", base)
	}
	return filepath.Join(to, filepath.Base(bin)), nil
}

// clusterVersion returns the major version that made data, or "".
func clusterVersion(data string) (string, error) {
	text, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(text)), err
}

// initdb makes a cluster whose superuser has a random password. It appears
// under its name only when it is complete.
func (s *Stack) initdb(ctx context.Context, p *postgresState, as account) error {
	password, err := randomHex(16)
	if err != nil {
		return err
	}
	given := filepath.Join(p.Base, "pwfile") // for initdb: not on its command line
	fresh := filepath.Join(p.Base, "data.new")
	if err := errors.Join(os.RemoveAll(fresh), os.WriteFile(given, []byte(password+"\n"), 0o600), as.own(given)); err != nil {
		return err
	}
	defer func() { _ = os.Remove(given) }()
	cmd := exec.Command(filepath.Join(p.Bin, "initdb"), "-D", fresh, "-U", superuser, "--pwfile", given,
		"-A", "scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions")
	cmd.Env, cmd.Dir, cmd.SysProcAttr = serverEnvironment(), p.Base, as.attributes()
	log := filepath.Join(s.dir, postgresLog)
	process, done, err := launch(cmd, log)
	if err != nil {
		return ErrStart.Wrap(err, "initdb")
	}
	if err := s.guard.kill(process, "TERM"); err != nil {
		return err
	}
	select {
	case err = <-done:
	case <-ctx.Done():
		_ = process.end(ctx, step{syscall.SIGTERM, time.Second}, step{syscall.SIGKILL, 5 * time.Second})
		return ctx.Err()
	}
	if err != nil {
		return ErrStart.Wrap(err, "initdb failed:\n%s", tail(log))
	}
	config, err := os.OpenFile(filepath.Join(fresh, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = config.WriteString("\ninclude 'runnel.conf'\n")
	return errors.Join(err, config.Close(),
		replaceFile(filepath.Join(s.dir, passwordFile), []byte(password)),
		os.Rename(fresh, filepath.Join(p.Base, "data")))
}

// launchPostgres starts the server of p; its process is p's afterwards.
func (s *Stack) launchPostgres(p *postgresState) error {
	as, err := postgresAccount()
	if err != nil {
		return err
	}
	if err := s.awaitPorts("Postgres", p.Port); err != nil {
		return err
	}
	data := filepath.Join(p.Base, "data")
	config := filepath.Join(data, "runnel.conf")
	settings := []byte(deploy.PostgreSQL + s.secure.postgresSettings())
	if err := errors.Join(os.WriteFile(config, settings, 0o600), as.own(config), s.secure.writePostgres(data, as)); err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(p.Bin, "postgres"), "-D", data, "-p", strconv.Itoa(p.Port))
	cmd.Env, cmd.Dir, cmd.SysProcAttr = serverEnvironment(), data, as.attributes()
	process, _, err := launch(cmd, filepath.Join(s.dir, postgresLog))
	if err != nil {
		return ErrStart.Wrap(err, "Postgres")
	}
	p.Process = process
	// QUIT: at once and with its children; KILL would leave them to notice.
	return s.guard.kill(process, "QUIT")
}

// awaitPostgres waits until the server answers a superuser's query.
func (s *Stack) awaitPostgres(ctx context.Context, p *postgresState) error {
	return s.await(ctx, "Postgres", postgresLog, p.Process, func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, s.PostgresURL)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(ctx) }()
		return conn.Ping(ctx)
	})
}

// endPostgres stops the server: sessions are ended, then everything at once.
func endPostgres(ctx context.Context, p process) error {
	return p.end(ctx, step{syscall.SIGINT, 5 * time.Second}, step{syscall.SIGQUIT, 5 * time.Second}, step{syscall.SIGKILL, 5 * time.Second})
}

// postgresURL returns the superuser's URL.
func (s *Stack) postgresURL(p *postgresState) (string, error) {
	password, err := os.ReadFile(filepath.Join(s.dir, passwordFile))
	if err != nil {
		return "", ErrFolder.Wrap(err, "read the superuser's password").At("%s", s.dir)
	}
	u := url.URL{
		Scheme: "postgres", Host: fmt.Sprintf("127.0.0.1:%d", p.Port), Path: "/postgres",
		User: url.UserPassword(superuser, string(password)), RawQuery: s.postgresQuery(),
	}
	return u.String(), nil
}

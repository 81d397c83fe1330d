package devstack

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The environment variables that hold the servers' addresses.
const (
	EnvPostgres    = "RUNNEL_POSTGRES_URL"
	EnvPulsar      = "RUNNEL_PULSAR_URL"
	EnvPulsarAdmin = "RUNNEL_PULSAR_ADMIN_URL"
)

// Options say which servers to start, and where.
type Options struct {
	// Dir is the stack's folder. It is made when missing, and must not hold
	// blanks (Pulsar's start script cannot take them). Empty, with Ephemeral:
	// a new folder for temporary files.
	Dir string

	// Postgres and Pulsar say what is wanted.
	Postgres, Pulsar bool

	// PGVersion is Postgres' major version, such as "17". Empty: that of the
	// data in Dir, else the newest on this machine.
	PGVersion string

	// PostgresURL (of a superuser), PulsarURL and PulsarAdminURL, when given,
	// are used, and nothing is started for them.
	PostgresURL, PulsarURL, PulsarAdminURL string

	// Ephemeral servers end with this process, however it ends, and their data
	// is removed. Otherwise they stay until Down.
	Ephemeral bool

	// DiskMargin, if not 0, lets Pulsar's bookie take the disk for full when so many
	// bytes more than at the start are in use: see Stack.FillPulsarDisk.
	DiskMargin int64

	// PulsarSettings are added to Pulsar's, in Java's properties format, and win over them.
	PulsarSettings string

	// Secure, if not nil, makes the servers speak TLS alone and ask who is there.
	// Ephemeral stacks only.
	Secure *Secure

	// Timeout is how long one server may take to be ready. Default: 2 minutes.
	Timeout time.Duration

	// Progress, if not nil, is told in a few words what happens. It is called
	// from one goroutine at a time.
	Progress func(text string)
}

// FromEnvironment fills in the addresses that getenv (such as os.Getenv) has
// and that are still empty.
func (o Options) FromEnvironment(getenv func(string) string) Options {
	for variable, field := range map[string]*string{
		EnvPostgres: &o.PostgresURL, EnvPulsar: &o.PulsarURL, EnvPulsarAdmin: &o.PulsarAdminURL,
	} {
		if *field == "" {
			*field = getenv(variable)
		}
	}
	return o
}

// DefaultDir returns the folder of `runnel dev`: runnel in $XDG_STATE_HOME, or
// in ~/.local/state.
func DefaultDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "runnel"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", ErrFolder.Wrap(err, "no folder for the stack").Fix("Set XDG_STATE_HOME, or give a folder.")
	}
	return filepath.Join(home, ".local", "state", "runnel"), nil
}

func (o Options) startsPostgres() bool { return o.Postgres && o.PostgresURL == "" }
func (o Options) startsPulsar() bool   { return o.Pulsar && o.PulsarURL == "" }

func (o Options) validate() error {
	if (o.PulsarURL == "") != (o.PulsarAdminURL == "") {
		return ErrGiven.New("one of Pulsar's two addresses is missing")
	}
	if o.Secure != nil && !o.Ephemeral {
		return ErrFolder.New("a secured stack is always an ephemeral one")
	}
	if o.Dir == "" && !o.Ephemeral && (o.startsPostgres() || o.startsPulsar()) {
		return ErrFolder.New("no folder is given")
	}
	return nil
}

// makeDir makes the stack's folder, or checks that it is a stack's.
func makeDir(dir string) (string, error) {
	if dir == "" {
		made, err := os.MkdirTemp("", "runnel-stack-")
		if err == nil {
			// Postgres, as another user, must get to its data through it.
			err = os.Chmod(made, 0o711)
		}
		dir = made
		if err != nil {
			return "", ErrFolder.Wrap(err, "make a temporary folder")
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if strings.ContainsAny(dir, " \t\n*?[\\'\"$") {
		return "", ErrFolder.New("its path holds a blank or a character special to the shell").At("%s", dir)
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return "", ErrFolder.Wrap(err, "make it").At("%s", dir)
	}
	if _, err := os.Stat(filepath.Join(dir, stateFile)); errors.Is(err, fs.ErrNotExist) {
		for _, name := range []string{postgresDir, pulsarDir, passwordFile} {
			if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
				return "", ErrFolder.New("%s is there, and no stack made it", name).At("%s", dir)
			}
		}
	}
	return dir, nil
}

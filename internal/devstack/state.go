package devstack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// The names in a stack's folder. Whatever else is there is not ours.
const (
	stateFile    = "stack.json"
	lockFile     = "lock"
	passwordFile = "postgres.password"
	postgresLog  = "postgres.log"
	pulsarLog    = "pulsar.log"
	postgresDir  = "postgres"
	pulsarDir    = "pulsar"
	authority    = "ca.pem"  // of a secured stack
	ballast      = "ballast" // fills the disk
)

var ourNames = []string{stateFile, lockFile, passwordFile, postgresLog, pulsarLog, postgresDir, pulsarDir, authority, ballast}

// state is what another process needs to find the servers. It holds no secret.
type state struct {
	Postgres *postgresState `json:"postgres,omitempty"`
	Pulsar   *pulsarState   `json:"pulsar,omitempty"`
}

type postgresState struct {
	Process process `json:"process"`
	Port    int     `json:"port"`
	Bin     string  `json:"bin"`     // folder of the server's programs
	Version string  `json:"version"` // major
	Base    string  `json:"base"`    // folder of the data; outside the stack's when that is closed to the server's user
}

type pulsarState struct {
	Process   process `json:"process"`
	Home      string  `json:"home"` // the unpacked distribution
	Broker    int     `json:"broker_port"`
	Web       int     `json:"web_port"`
	Bookie    int     `json:"bookie_port"`
	ZooKeeper int     `json:"zookeeper_port"`
}

// loadState reads the state of dir; without one it is empty.
func loadState(dir string) (state, error) {
	var s state
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return s, ErrFolder.Wrap(err, "read the stack's state").At("%s", dir)
	}
	return s, nil
}

// save replaces the state at once: a reader sees the old or the new one.
func (s state) save(dir string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, stateFile), append(data, '\n'))
}

// replaceFile writes a file that only its owner may read.
func replaceFile(path string, data []byte) error {
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// lockDir makes this process the only one that starts or stops servers in dir
// until unlock. The kernel gives the lock back if the process dies.
func lockDir(dir string) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, ErrFolder.Wrap(err, "open the lock").At("%s", dir)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrBusy.New("the lock is held").At("%s", dir)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { _ = file.Close() }, nil
}

// removeOurs removes what a stack put into dir, and dir if nothing else is in it.
func removeOurs(dir string, s state) error {
	var errs []error
	if s.Postgres != nil && s.Postgres.Base != "" {
		errs = append(errs, os.RemoveAll(s.Postgres.Base))
	}
	for _, name := range ourNames {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, name)))
	}
	_ = os.Remove(dir) // fails when not empty, and then it is not only ours
	return errors.Join(errs...)
}

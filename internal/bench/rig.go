package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/schemas"
)

// Options say what to measure.
type Options struct {
	Binary    string // bin/runnel
	PGVersion string // Postgres' major version; empty: the newest that is installed
	Rows      int    // of a backlog
	Rounds    int
	Long      bool   // what takes long as well
	Peer      bool   // Debezium Server as well: see peer/setup
	Profiles  string // folder for profiles of the daemons; empty: none are made
	Only      string // part of the names of what is measured; empty: all is
	Say       func(format string, args ...any)
}

func (o Options) wants(name string) bool { return strings.Contains(name, o.Only) }

// wantsAny reports whether anything may be wanted whose name begins so.
func (o Options) wantsAny(prefix string) bool {
	return strings.HasPrefix(prefix, o.Only) || strings.HasPrefix(o.Only, prefix)
}

// ProfilesVariable tells a daemon where to put profiles of itself.
const ProfilesVariable = "RUNNEL_BENCH_PROFILES"

// rig is the servers, on which everything is measured.
type rig struct {
	Options
	dir   string
	stack *devstack.Stack
	event *schemas.EventType

	broker   string // how the broker is set
	settings string // of the broker
}

// brokers are the ways in which the broker is set: what differs from deploy's.
var brokers = []struct{ name, settings string }{
	{"set for latency", ""},
	// A read at the end of a topic waits up to so many milliseconds for more, and the journal
	// for other entries.
	{"default", "managedLedgerNewEntriesCheckDelayInMillis=10\njournalFlushWhenQueueEmpty=false"},
}

func newRig(ctx context.Context, o Options, broker, settings string) (*rig, error) {
	event, err := loadEvent()
	if err != nil {
		return nil, err
	}
	if o.Binary, err = filepath.Abs(o.Binary); err != nil {
		return nil, err
	}
	if o.Profiles != "" {
		if o.Profiles, err = filepath.Abs(o.Profiles); err != nil {
			return nil, err
		}
	}
	r := &rig{Options: o, event: event, broker: broker, settings: settings}
	if r.dir, err = os.MkdirTemp("", "runnel-bench-"); err != nil {
		return nil, err
	}
	if err := os.CopyFS(r.dir, schemaFiles); err != nil {
		return nil, errors.Join(err, r.close(ctx))
	}
	r.stack, err = devstack.Up(ctx, devstack.Options{Postgres: true, Pulsar: true, PGVersion: o.PGVersion, Ephemeral: true, PulsarSettings: settings,
		Progress: func(text string) { o.Say("%s", text) }})
	if err != nil {
		return nil, errors.Join(err, r.close(ctx))
	}
	return r, nil
}

func (r *rig) close(ctx context.Context) (err error) {
	if r.stack != nil {
		err = r.stack.Down(context.WithoutCancel(ctx))
	}
	return errors.Join(err, os.RemoveAll(r.dir))
}

func (r *rig) schemas() string { return filepath.Join(r.dir, "schemas") }

func (r *rig) dial(ctx context.Context) (*broker.Pulsar, error) {
	return broker.Dial(ctx, broker.Config{URL: r.stack.PulsarURL, AdminURL: r.stack.PulsarAdminURL, Name: "bench"})
}

package cli

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/catalogfile"
	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/deadletter"
	"github.com/runnel-cdc/runnel/internal/evolution"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/history"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/router"
	"github.com/runnel-cdc/runnel/schemas"
)

// evolving is what the commands on a catalog's evolution have at hand.
type evolving struct {
	*call
	dir      string
	catalog  *schemas.Catalog
	file     catalogfile.File
	settings evolution.Settings
	levels   bool // whether the settings have all that is said of levels

	// Of the servers, once connected.
	cfg     *config.Config
	client  *broker.Pulsar
	db      *pgx.Conn
	target  evolution.Target
	history evolution.History
}

// evolving reads the catalog of a command's folder.
func (c *call) evolving() (*evolving, error) {
	dir, err := c.folder()
	if err != nil {
		return nil, err
	}
	e := &evolving{call: c, dir: dir}
	return e, e.read()
}

// read reads the folder. The error joins all that is wrong with its files; the catalog is
// then nil, or the settings are those that could be read.
func (e *evolving) read() error {
	var catalogErr, fileErr, settingsErr error
	e.catalog, catalogErr = wire.Catalog(e.dir)
	e.file, fileErr = wire.CatalogFile(e.dir)
	e.settings, settingsErr = settingsOf(e.file, e.catalog)
	e.levels = fileErr == nil && settingsErr == nil && !errors.Is(catalogErr, schemas.ErrCatalogMissing)
	return errors.Join(catalogErr, fileErr, settingsErr)
}

// settingsOf is evolution.SettingsOf. Without a catalog, as its files are not all sound,
// which events there are is not known, and none is missed.
func settingsOf(file catalogfile.File, catalog *schemas.Catalog) (evolution.Settings, error) {
	if catalog != nil {
		return evolution.SettingsOf(file, catalog)
	}
	s, err := evolution.SettingsOf(file, &schemas.Catalog{})
	missed := make(map[string]bool) // the places of entries; levels have their own
	for _, e := range file.Events {
		missed[e.Pos.String()] = true
	}
	return s, errors.Join(slices.DeleteFunc(flatten(err), func(err error) bool { return missed[fault.Find(err).Where] })...)
}

// withServers runs do with the catalog, the broker and the source database at hand.
func (c *call) withServers(ctx context.Context, do func(*evolving) (any, error)) (any, error) {
	e, err := c.evolving()
	if err != nil {
		return nil, err
	}
	defer e.close()
	if err := e.connect(ctx, true); err != nil {
		return nil, err
	}
	return do(e)
}

// connect opens the broker, and, where writers are concerned, the source database.
func (e *evolving) connect(ctx context.Context, withDatabase bool) (err error) {
	need := []string{"pulsar.url", "pulsar.admin_url"}
	if withDatabase {
		need = append(need, "postgres.url")
	}
	if e.cfg, err = e.config(need...); err != nil {
		return err
	}
	if e.target, err = target(e.cfg); err != nil {
		return err
	}
	if withDatabase {
		if e.db, err = e.deps.postgres(ctx, e.cfg, "schemas"); err != nil {
			return err
		}
		if err := requireOutbox(ctx, e.db); err != nil {
			return err
		}
	}
	e.client, err = broker.Dial(ctx, wire.Broker(e.cfg))
	return err
}

// requireOutbox refuses a database without an outbox, or with one that is too old to
// note plans in.
func requireOutbox(ctx context.Context, db *pgx.Conn) error {
	var there, current bool
	err := db.QueryRow(ctx, "select to_regnamespace('runnel') is not null, to_regclass('runnel.schema_plan') is not null").Scan(&there, &current)
	switch {
	case err != nil:
		return wire.QueryFault(err, "look for the outbox")
	case !there:
		return outbox.ErrNotMigrated.New("the database has no schema runnel")
	case !current:
		return outbox.ErrNotMigrated.New("the outbox was made by an older version of Runnel").Fix("Run `runnel init`, as the database's administrator.")
	}
	return nil
}

func (e *evolving) close() {
	if e.client != nil {
		e.client.Close()
	}
	wire.Close(e.db)
}

// target is where the configuration applies a catalog.
func target(cfg *config.Config) (evolution.Target, error) {
	routes, err := router.NewRoutes(wire.Rules(cfg))
	if err != nil {
		return evolution.Target{}, err
	}
	letters := ""
	if cfg.Capture.Poison == config.Park {
		letters = deadletter.Topic(cfg.Name)
	}
	return evolution.Target{
		Namespace: cfg.Topics.Namespace, Partitions: cfg.Topics.Partitions, History: history.Topic(cfg.Name), DeadLetters: letters,
		Policy:  broker.NamespacePolicy{Retention: broker.Retention{Time: max(0, cfg.Topics.Retention)}},
		TopicOf: func(aggregateType, eventType string) string { return routes.Explain(aggregateType, eventType).Topic },
	}, nil
}

// observe reads what is there.
func (e *evolving) observe(ctx context.Context) (*evolution.State, error) {
	state, err := evolution.Observe(ctx, e.client, e.db, e.target, e.catalog, evolution.Everything)
	if err != nil {
		return nil, wire.QueryFault(err, "look at what is there")
	}
	e.history = state.History()
	return state, nil
}

// plan makes the plan of what is there now.
func (e *evolving) plan(ctx context.Context) (*evolution.Plan, error) {
	state, err := e.observe(ctx)
	if err != nil {
		return nil, err
	}
	return evolution.Make(e.catalog, state, e.settings, evolution.Whole, time.Now())
}

// changeFinding is a finding on a change as it is printed.
func (e *evolving) changeFinding(f *evolution.Finding) finding {
	x := finding{
		Path: filepath.Clean(e.dir), Rule: f.Rule.ID, Severity: severityWarning, Subject: f.Event + " " + f.Path,
		Message: f.What() + ". " + f.Meaning(), Fix: f.WhatToDo(), Direction: string(f.Direction),
	}
	for _, v := range f.Against {
		x.Against = append(x.Against, v.Label)
	}
	if at := f.Place(); at.File != "" {
		x.Path, x.Line, x.Col = at.File, at.Line, at.Col
	}
	if f.Blocks() {
		x.Severity = severityError
	}
	if w := f.Waived; w != nil {
		x.Severity = severityNote
		x.Message += " Waived until " + w.Expires.Format(time.DateOnly) + " by " + w.Owner + ": " + strings.TrimSuffix(w.Reason, ".") + "."
	}
	if len(f.Readers) > 0 && !f.NamesReader() {
		x.Message += " Concerned: " + evolution.ReaderNames(f.Readers) + "."
	}
	return x
}

// changeFindings are those that a person should see: what blocks, what is waived, and
// warnings that are new.
func (e *evolving) changeFindings(all []evolution.Finding) []finding {
	var shown []finding
	for i := range all {
		if f := &all[i]; f.Required && !f.Known {
			shown = append(shown, e.changeFinding(f))
		}
	}
	return shown
}

// deprecation is a type or a field that is marked as deprecated.
type deprecation struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

func deprecations(c *schemas.Catalog) []deprecation {
	all := []deprecation{}
	for _, d := range evolution.Deprecated(c) {
		all = append(all, deprecation{d.Path, d.Now})
	}
	return all
}

func printDeprecations(p *printer, all []deprecation) {
	for _, d := range all {
		why := ""
		if d.Why != "" {
			why = ": " + d.Why
		}
		p.line("%s %s%s", p.paint(yellow, "deprecated"), clean(d.What), clean(why))
	}
}

package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/failpoint"
	"github.com/runnel-cdc/runnel/internal/history"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/router"
)

// takeRoutes returns the generations of the pipeline's routes, with the routes of the
// configuration as the newest. It needs the slot and the fence, so that nobody publishes
// meanwhile, and comes before anything is published.
//
// Invariants:
//  1. Nothing is published under a generation that the history topic does not hold.
//     Where what was published went is told where it is, so no failover of the
//     database, nor a backup, can lose it.
//  2. A generation begins above everything that any partition holds. So each event is
//     routed as it was by the run that published it, and the first run to route it
//     otherwise is one that found it nowhere. What a partition has lost counts, too: it
//     comes again, to where readers may have seen it.
func (r *run) takeRoutes(ctx context.Context, f *fence) ([]router.Generation, error) {
	db, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	stored, hash, err := r.storedRoutes(ctx, db)
	if err != nil {
		return nil, err
	}
	all := newer(f.last.Routing, stored)
	mine := history.NewGeneration(1, position.Position{}, historyRoutes(r.cfg.Routes))
	switch {
	case len(all) == 0 && hash != "" && hash != r.routes.Hash():
		return nil, router.ErrRoutesChanged.New("they have no record of the routes that were in force until now")
	case len(all) == 0:
		all = []history.Generation{mine}
	case !all[len(all)-1].Same(mine):
		if all, err = r.changeRoutes(ctx, f, all); err != nil {
			return nil, err
		}
	}
	newest := all[len(all)-1]
	if len(f.last.Routing) == 0 || f.last.Routing[len(f.last.Routing)-1].Generation < newest.Generation {
		failpoint.Hit("pipeline.routes") // changed, and not recorded
		record := *f.last
		record.Routing = all
		if err := f.write(ctx, record); err != nil {
			return nil, err
		}
		failpoint.Hit("pipeline.routed") // recorded, and not in the database
		r.log.Info("the routes are recorded that decide behind a position", "generation", newest.Generation, "position", newest.After)
	}
	if len(stored) == 0 || stored[len(stored)-1].Generation < newest.Generation {
		text, err := json.Marshal(all)
		if err != nil {
			return nil, err
		}
		if _, err := db.Exec(ctx, `update runnel.pipeline set routing = $2, routes_hash = $3 where name = $1`, r.cfg.Name, text, r.routes.Hash()); err != nil {
			return nil, fmt.Errorf("store the routes: %w", err)
		}
	}
	return generations(all)
}

// newer returns the generations that go further: those of the topic, unless it was deleted.
func newer(topic, database []history.Generation) []history.Generation {
	if len(topic) == 0 || len(database) > 0 && topic[len(topic)-1].Generation < database[len(database)-1].Generation {
		return database
	}
	return topic
}

// storedRoutes reads what the database has. hash is that of the newest routes, also where
// an earlier release stored nothing else.
func (r *run) storedRoutes(ctx context.Context, db *pgx.Conn) (stored []history.Generation, hash string, err error) {
	var text []byte
	err = db.QueryRow(ctx, `select routing, coalesce(routes_hash, '') from runnel.pipeline where name = $1`, r.cfg.Name).Scan(&text, &hash)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read the stored routes: %w", err)
	}
	if text != nil {
		stored, err = history.ParseRouting(text)
	}
	return stored, hash, err
}

// changeRoutes adds a generation of the routes of the configuration.
func (r *run) changeRoutes(ctx context.Context, f *fence, all []history.Generation) ([]history.Generation, error) {
	if err := f.claim(ctx); err != nil {
		return nil, err
	}
	newest := all[len(all)-1]
	after, err := newest.Begin()
	if err != nil {
		return nil, err
	}
	tails, err := r.settleTails(ctx)
	if err != nil {
		return nil, err
	}
	again, err := r.settleTails(ctx)
	if err != nil {
		return nil, err
	}
	if !maps.Equal(tails, again) {
		return nil, errStillStored
	}
	for _, tail := range tails {
		after = position.Later(after, tail.Position)
	}
	if after, err = r.behindLost(ctx, after, tails); err != nil {
		return nil, err
	}
	return history.AddGeneration(all, history.NewGeneration(newest.Generation+1, after, historyRoutes(r.cfg.Routes))), nil
}

// behindLost returns a position above what partitions have held and hold no more. ErrTruncated:
// one lacks what was saved of it, and nobody has accepted that.
func (r *run) behindLost(ctx context.Context, after position.Position, now tails) (position.Position, error) {
	for _, t := range r.saved.Tails {
		p := broker.Partition{Topic: t.Topic, Index: t.Partition}
		after = position.Later(position.Later(after, t.Last.Position), t.ResumedAt)
		if now[p].Ordinal >= t.Last.Ordinal || t.GoesOn() {
			continue
		}
		if now[p].Ordinal > 0 || r.cfg.Retention == 0 || r.isDeadLetters(p) {
			return after, truncated(r.cfg.Name, p, now[p], t.Last)
		}
		// By retention, or it was deleted: that can't be told apart.
		end, err := r.walEnd(ctx)
		if err != nil {
			return after, err
		}
		after = position.Later(after, r.source.At(end))
	}
	return after, nil
}

func historyRoutes(rules []router.RouteRule) []history.Route {
	routes := make([]history.Route, 0, len(rules))
	for _, rule := range rules {
		routes = append(routes, history.Route(rule))
	}
	return routes
}

// generations returns what the router takes.
func generations(all []history.Generation) ([]router.Generation, error) {
	out := make([]router.Generation, 0, len(all))
	for _, g := range all {
		rules := make([]router.RouteRule, 0, len(g.Routes))
		for _, route := range g.Routes {
			rules = append(rules, router.RouteRule(route))
		}
		routes, err := router.NewRoutes(rules)
		if err != nil {
			return nil, fmt.Errorf("generation %d of routes: %w", g.Generation, err)
		}
		after, err := g.Begin()
		if err != nil {
			return nil, err
		}
		out = append(out, router.Generation{Number: g.Generation, After: after, Routes: routes})
	}
	return out, nil
}

package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/router"
	"github.com/runnel-cdc/runnel/schemas"
)

// The pauses between runs.
const (
	firstPause   = 200 * time.Millisecond
	longPause    = 10 * time.Second
	standbyPause = time.Second
)

// Pipeline runs one outbox's way to Pulsar.
type Pipeline struct {
	cfg     Config
	routes  *router.Routes
	foreign broker.Foreign
	log     *slog.Logger
	report  *reporter
	tried   map[string]time.Time // types that a run was ended for, to see whether they are known: see mayBeKnown
}

// foreignMessages reads the list of Config.Foreign.
func foreignMessages(list string) (broker.Foreign, error) {
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	foreign, err := broker.ParseForeign(names)
	if err != nil {
		return nil, broker.ErrConfig.New("topics.foreign holds %v", err)
	}
	return foreign, nil
}

// New checks cfg and connects to nothing.
func New(cfg Config) (*Pipeline, error) {
	cfg = cfg.WithDefaults()
	routes, err := router.NewRoutes(cfg.Routes)
	if err != nil {
		return nil, err
	}
	foreign, err := foreignMessages(cfg.Foreign)
	if err != nil {
		return nil, err
	}
	return &Pipeline{cfg: cfg, routes: routes, foreign: foreign, log: cfg.Logger, report: newReporter(cfg), tried: make(map[string]time.Time)}, nil
}

// Status returns how the pipeline is. It is safe for concurrent use.
func (p *Pipeline) Status() Status { return p.report.status() }

// Run publishes until ctx ends, then stops reading, waits a while for what is
// in flight, confirms it and returns nil. It returns an error only for wrong
// input found at the start, such as a catalog that can't be read; everything
// later is retried, or halts the pipeline until it is put right.
func (p *Pipeline) Run(ctx context.Context) error {
	if p.cfg.HTTP != "" {
		stop, err := p.serve(ctx)
		if err != nil {
			return err
		}
		defer stop()
	}
	pause := firstPause
	doubt := false  // whether what was in order still is
	reread := false // the schemas were, for an event that is not known
	waited := ""    // for what, as it was logged
	for attempt := 1; ; attempt++ {
		p.report.starting(attempt)
		started := time.Now()
		published, doubted, err := p.runOnce(ctx, doubt)
		doubt = doubted || doubt && !published // until one that looks at everything has succeeded
		if ctx.Err() != nil {
			p.report.stopped()
			if err != nil {
				p.log.Warn("the last run did not end cleanly; the next start continues exactly", "error", err)
			}
			if err == nil {
				p.log.Info("stopped: what was published is confirmed")
			}
			return nil
		}
		if attempt == 1 && wrongInput(err) {
			return err
		}
		// A run that published is no sign of a fault that stays: what ended it
		// may have passed already.
		if published || time.Since(started) > time.Minute {
			pause = firstPause
		}
		if published {
			reread = false
		}
		if !waits(err) {
			waited = ""
		}
		wait := pause
		switch {
		case doubted:
			wait = firstPause
			p.report.failed(err)
			p.log.Warn("something is not as it was: looking at everything again", "error", err)
		case errors.Is(err, router.ErrUnknownEvent) && !reread:
			// The folder of schemas may hold it by now: the next run reads it.
			reread, wait = true, firstPause
			p.report.failed(err)
			p.log.Warn("an event is not known: reading the schemas again", "error", err)
		case halts(err):
			wait = p.cfg.Recheck
			p.report.halted(err)
			logHalt(p.log, err, p.cfg.Recheck)
		case waits(err):
			wait = standbyPause
			p.report.blocked(err)
			if reason := err.Error(); reason != waited {
				waited = reason
				p.log.Info("standing by", "reason", err)
			}
		default:
			p.report.failed(err)
			p.log.Warn("the run ended, starting over", "error", err, "pause", wait.Round(time.Millisecond))
			pause = min(2*pause, longPause)
		}
		wait = wait/2 + rand.N(wait/2) // so that two daemons do not move in step
		p.report.pausing(time.Now().Add(wait))
		p.pause(ctx, wait)
	}
}

// pause waits, and goes on measuring the lag: alarms must not rest on a number
// from before the halt.
func (p *Pipeline) pause(ctx context.Context, wait time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	_ = p.newRun().pollLag(ctx) // a server that does not answer is the run's to report
	<-ctx.Done()
}

func (p *Pipeline) newRun() *run {
	return &run{cfg: p.cfg, routes: p.routes, foreign: p.foreign, log: p.log, report: p.report, tried: p.tried}
}

// runOnce makes one run, and tells whether anything was published in it, and whether the
// next one has to look at everything.
func (p *Pipeline) runOnce(ctx context.Context, doubt bool) (published, doubted bool, err error) {
	r := p.newRun()
	r.doubt = doubt
	err = r.run(ctx)
	if err == nil && ctx.Err() == nil {
		err = errors.New("the run ended without an error")
	}
	return r.published(), r.inDoubt(err), err
}

func logHalt(log *slog.Logger, err error, again time.Duration) {
	if f := fault.Find(err); f != nil {
		log.Error("halted", "code", f.Code.ID, "error", err, "remedy", f.WhatToDo(), "looks_again_within", again)
		return
	}
	log.Error("halted", "error", err)
}

func wrongInput(err error) bool {
	f := fault.Find(err)
	return f != nil && (f.Code.Class == fault.Input || f.Code == schemas.ErrCatalogUnreadable)
}

func notApplied(err error, topic string) error {
	if isTopicMissing(err) {
		return ErrNotApplied.Wrap(err, "the topic does not exist").At("%s", topic)
	}
	return fmt.Errorf("topic %s: %w", topic, err)
}

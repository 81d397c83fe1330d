package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/internal/doctor"
	"github.com/runnel-cdc/runnel/internal/evolution"
	"github.com/runnel-cdc/runnel/internal/gitcatalog"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/schemas"
)

// checkResult is what check found, and what is deprecated.
type checkResult struct {
	findings
	Against    string        `json:"against"`
	Events     int           `json:"events"`  // of the catalog
	Changed    int           `json:"changed"` // those that diff names: changed, added or removed
	Deprecated []deprecation `json:"deprecated"`

	compared bool // false when a file is not sound
}

func (r checkResult) text(p *printer) {
	if r.format == "text" {
		printDeprecations(p, r.Deprecated)
		if r.compared {
			p.line("%s against %s, %d changed", doctor.Count(r.Events, "event"), clean(r.Against), r.Changed)
		}
	}
	r.findings.text(p)
}

func checkSpec() *spec {
	var against, level string
	var how findingFlags
	return &spec{
		use:   "check [DIR]",
		short: "Judge what a changed catalog does to its readers",
		long: `Compares a folder of .avsc files, that of --schemas by default, with what it takes
the place of, and says for every event that has changed what breaks for whom. Added
events pass. --against is one of

  registry   all versions that the topics' schemas have, and who is connected
  REF        a commit, branch or tag of the git repository around DIR
  FOLDER     another folder of .avsc files

How strict it is, catalog.yaml says: compatibility, for all events, of a topic, or
of one event. Without a word it is FULL_TRANSITIVE: every version reads every
other's data. What was let through before is not found again, and a waiver lets one
finding pass until a day:

  compatibility: FULL_TRANSITIVE
  events:
    OrderPlaced: {compatibility: BACKWARD_TRANSITIVE, owner: orders}
  waivers:
    - {event: OrderPlaced, rule: FIELD_WITHOUT_DEFAULT, path: $.note,
       reason: nobody reads it, owner: orders, expires: 2027-01-31}

It exits with 2 when something is in the way of the change, or a file is at fault.`,
		example: `  runnel schemas check --against registry
  runnel schemas check ./schemas --against origin/main --format github
  runnel schemas check ./schemas --against ./released --level BACKWARD`,
		args: optionalArg("DIR"),
		flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&against, "against", "", "`what` to compare with: registry, a git reference or a folder (required)")
			cmd.Flags().StringVar(&level, "level", "", "compatibility `level`, in place of catalog.yaml's: "+strings.Join(evolution.Levels, ", "))
			completeFrom(cmd, "level", evolution.Levels...)
			how.add(cmd)
		},
		run: func(ctx context.Context, c *call) (any, error) {
			if err := how.check(c); err != nil {
				return nil, err
			}
			if against == "" {
				return nil, ErrUsage.New("--against is missing").Fix("Compare with what is registered (--against registry), with a commit (--against origin/main) or a folder.")
			}
			dir, err := c.folder()
			if err != nil {
				return nil, err
			}
			e := &evolving{call: c, dir: dir}
			if err := e.read(); err != nil {
				found, all := fileFindings(dir, err)
				if !all {
					return nil, err
				}
				result, err := how.result(found)
				return checkResult{findings: result.(findings), Against: against, Deprecated: []deprecation{}}, err
			}
			defer e.close()
			if level != "" {
				l, err := evolution.ParseLevel(level)
				if err != nil {
					return nil, ErrUsage.New("--level: %s", err)
				}
				e.settings = evolution.Settings{Level: l, Waive: e.settings.Waive}
			}
			found, history, err := e.judge(ctx, against)
			if err != nil {
				return nil, err
			}
			shown := e.changeFindings(found)
			if len(history) == 0 {
				shown = append(shown, e.nothingCompared(against))
			}
			result, err := how.result(shown)
			return checkResult{result.(findings), against, len(e.catalog.Events()), len(e.diff(history)), deprecations(e.catalog), true}, err
		},
	}
}

// nothingCompared warns that a check has said nothing: a name may be wrong.
func (e *evolving) nothingCompared(against string) finding {
	f := finding{
		Path: filepath.Clean(e.dir), Rule: "NOTHING_COMPARED", Severity: severityWarning,
		Message: against + " has no .avsc file in this folder: every event counts as new",
		Fix:     "If the folder was renamed, compare with the former one: check it out, and give it as --against.",
	}
	if against == "registry" {
		f.Message = "the registry holds no event of the namespace " + e.cfg.Topics.Namespace + ": every event counts as new"
		f.Fix = "Check topics.namespace and the broker's addresses (`runnel config show`). Before the first apply nothing is wrong."
	}
	return f
}

// judge compares the catalog with what --against names, which is the history; nil when
// there is nothing of that name.
func (e *evolving) judge(ctx context.Context, against string) ([]evolution.Finding, evolution.History, error) {
	if against == "registry" {
		if err := e.connect(ctx, false); err != nil {
			return nil, nil, err
		}
		plan, err := e.plan(ctx)
		if err != nil {
			return nil, nil, err
		}
		return plan.Findings, e.history, nil
	}
	base, err := e.baseline(ctx, against)
	if err != nil || base == nil {
		return nil, nil, err
	}
	cfg, err := e.config()
	if err != nil {
		return nil, nil, err
	}
	to, err := target(cfg)
	if err != nil {
		return nil, nil, err
	}
	topicOf := func(t *schemas.EventType) string { return to.TopicOf(t.AggregateType, t.Name) }
	history := evolution.FromCatalog(against, base)
	return evolution.Judge(e.catalog, history, topicOf, e.settings, time.Now()), history, nil
}

// plainly reports whether a path cannot be a git reference.
func plainly(path string) bool {
	return filepath.IsAbs(path) || strings.HasPrefix(path, ".") || strings.HasSuffix(path, "/")
}

// baseline reads the catalog of a folder, or of a git reference; nil when the
// reference has no such folder, or nothing in it.
func (e *evolving) baseline(ctx context.Context, against string) (*schemas.Catalog, error) {
	if info, err := os.Stat(against); plainly(against) || err == nil && info.IsDir() {
		if !plainly(against) && gitcatalog.Has(ctx, e.dir, against) {
			return nil, ErrUsage.New("--against %s: that is a folder, and a commit of the git repository as well", shellWord(against)).
				Fix("Write --against ./%s for the folder; or, for a branch, --against refs/heads/%[1]s, and for a tag, refs/tags/%[1]s.", against)
		}
		return wire.Catalog(against)
	}
	files, found, err := gitcatalog.Read(ctx, e.dir, against, func(name string) bool { return filepath.Ext(name) == ".avsc" })
	if err != nil || !found {
		return nil, err
	}
	base, err := schemas.Load(files, ".")
	if errors.Is(err, schemas.ErrCatalogEmpty) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the catalog of %s: %w", against, err)
	}
	return base, nil
}

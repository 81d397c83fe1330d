package cli

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/schemas/gen"
)

// genResult tells what was generated.
type genResult struct {
	Folder  string   `json:"folder"`
	Package string   `json:"package"`
	Files   []string `json:"files"`
	Changed []string `json:"changed"` // written, or with --check: would be
	Stale   []string `json:"stale"`   // generated earlier, without a type now; removed
}

func (r genResult) text(p *printer) {
	p.line("%s: %d files of package %s, %d changed, %d removed", clean(r.Folder), len(r.Files), r.Package, len(r.Changed), len(r.Stale))
}

func schemasSpec() *spec {
	var out, pkg string
	var check bool
	return &spec{
		use:     "schemas",
		short:   "Work with schemas",
		long:    "Commands on the catalog, the folder of .avsc files, and on single schemas.",
		example: "  runnel schemas gen go --schemas ./schemas --out ./events\n  runnel schemas compat --reader v2/OrderPlaced.avsc --writer v1/OrderPlaced.avsc",
		sub: []*spec{{
			use:   "gen",
			short: "Generate code from the catalog, or schemas from a table",
			long:  "Generates code from the catalog, or the catalog's files from a table.",
			example: `  runnel schemas gen go --schemas ./schemas --out ./events
  runnel schemas gen avsc --from-table public.customers --aggregate customer --out ./schemas`,
			sub: []*spec{{
				use:   "go",
				short: "Generate Go types",
				long: `Writes a Go package with a struct for every record of the catalog, with fast
encoding. Events implement schemas.Payload. Files that it generated earlier and
that have no type any more are removed; other files are left alone.

--check writes nothing and exits with 2 when a file is not current.`,
				example: `  runnel schemas gen go --schemas ./schemas --out ./events
  runnel schemas gen go --schemas ./schemas --out ./events --package events --check`,
				flags: func(cmd *cobra.Command) {
					cmd.Flags().StringVar(&out, "out", "", "`folder` of the package (required)")
					cmd.Flags().StringVar(&pkg, "package", "", "package `name`; default: the folder's")
					cmd.Flags().BoolVar(&check, "check", false, "write nothing; exit with 2 when a file is not current")
					_ = cmd.MarkFlagDirname("out") // fails for unknown flags only
				},
				run: func(_ context.Context, c *call) (any, error) { return genGo(c, out, pkg, check) },
			}, avscSpec()},
		}, lintSpec(), compatSpec(), checkSpec(), diffSpec(), planSpec(), applySpec(), driftSpec(), listSpec(), showSpec()},
	}
}

func genGo(c *call, out, pkg string, check bool) (any, error) {
	if out == "" {
		return nil, ErrUsage.New("--out is missing").Fix("Name the folder of the Go package: --out ./events.")
	}
	if pkg == "" {
		abs, err := filepath.Abs(out)
		if err != nil {
			return nil, err
		}
		pkg = strings.ToLower(strings.NewReplacer("-", "", ".", "", "_", "").Replace(filepath.Base(abs)))
	}
	cfg, err := c.config("schemas")
	if err != nil {
		return nil, err
	}
	catalog, err := wire.Catalog(cfg.Schemas)
	if err != nil {
		return nil, err
	}
	files, err := gen.Go(catalog, gen.Options{Package: pkg})
	if err != nil {
		return nil, err
	}
	r := genResult{Folder: out, Package: pkg, Files: slices.Sorted(maps.Keys(files))}
	generate := gen.Write
	if check {
		generate = gen.Diff
	}
	changed, stale, err := generate(out, files)
	if err != nil {
		return nil, err
	}
	r.Changed, r.Stale = append([]string{}, changed...), append([]string{}, stale...)
	if n := len(changed) + len(stale); check && n > 0 {
		e := ErrNotCurrent.New("%d files are not current: %s", n, strings.Join(slices.Concat(changed, stale), ", ")).At("%s", out)
		return r, e.Fix("Run `runnel schemas gen go --schemas %s --out %s --package %s`.", cfg.Schemas, out, pkg)
	}
	return r, nil
}

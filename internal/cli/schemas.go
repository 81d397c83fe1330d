package cli

import (
	"context"
	"errors"
	"fmt"
	"go/token"
	"io/fs"
	"os"
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
		short:   "Work with the catalog of schemas",
		long:    "Commands on the catalog: the folder of .avsc files.",
		example: "  runnel schemas gen go --schemas ./schemas --out ./events",
		sub: []*spec{{
			use:     "gen",
			short:   "Generate code from the catalog",
			long:    "Generates code from the catalog.",
			example: "  runnel schemas gen go --schemas ./schemas --out ./events",
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
			}},
		}},
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
	if !token.IsIdentifier(pkg) {
		return nil, ErrUsage.New("%.60q is not the name of a Go package", pkg).Fix("Give one with --package.")
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
	r := genResult{Folder: out, Package: pkg, Files: []string{}, Changed: []string{}, Stale: []string{}}
	for name := range files {
		r.Files = append(r.Files, name)
	}
	slices.Sort(r.Files)
	if err := compareGenerated(&r, files); err != nil {
		return nil, err
	}
	if check {
		if n := len(r.Changed) + len(r.Stale); n > 0 {
			e := ErrNotCurrent.New("%d files are not current: %s", n, strings.Join(slices.Concat(r.Changed, r.Stale), ", ")).At("%s", out)
			return r, e.Fix("Run `runnel schemas gen go --schemas %s --out %s --package %s`.", cfg.Schemas, out, pkg)
		}
		return r, nil
	}
	return r, writeGenerated(r, files)
}

// compareGenerated finds what differs from the folder's content.
func compareGenerated(r *genResult, files map[string][]byte) error {
	for _, name := range r.Files {
		old, err := os.ReadFile(filepath.Join(r.Folder, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err != nil || string(old) != string(files[name]) {
			r.Changed = append(r.Changed, name)
		}
	}
	entries, err := os.ReadDir(r.Folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if _, current := files[e.Name()]; current || !e.Type().IsRegular() || !strings.HasSuffix(e.Name(), ".go") {
			continue
		}
		src, err := os.ReadFile(filepath.Join(r.Folder, e.Name()))
		if err != nil {
			return err
		}
		if first, _, _ := strings.Cut(string(src), "\n"); first == gen.Header {
			r.Stale = append(r.Stale, e.Name())
		}
	}
	return nil
}

// writeGenerated replaces each file at once, so that none is ever half written.
func writeGenerated(r genResult, files map[string][]byte) error {
	if err := os.MkdirAll(r.Folder, 0o755); err != nil {
		return err
	}
	for _, name := range r.Changed {
		path := filepath.Join(r.Folder, name)
		temporary := path + ".tmp"
		if err := os.WriteFile(temporary, files[name], 0o644); err != nil {
			return err
		}
		if err := os.Rename(temporary, path); err != nil {
			return errors.Join(err, os.Remove(temporary))
		}
	}
	for _, name := range r.Stale {
		if err := os.Remove(filepath.Join(r.Folder, name)); err != nil {
			return fmt.Errorf("remove what has no type any more: %w", err)
		}
	}
	return nil
}

package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/internal/doctor"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/schemas"
)

// compatResult is the verdict on a reader's and a writer's schema.
type compatResult struct {
	Compatible bool              `json:"compatible"`
	Findings   []schemas.Finding `json:"findings"`

	reader, writer string // files
}

// text writes each finding at its place in the reader's file, then the verdict.
func (r compatResult) text(p *printer) {
	for _, f := range r.Findings {
		paint := red
		if f.Rule.Severity == schemas.Warning {
			paint = yellow
		}
		p.line("%s: %s %s", clean(f.Reader.String()), p.paint(paint, f.Rule.ID), clean(f.String()))
		p.line("  written at %s", clean(f.Writer.String()))
		if len(f.Also) > 0 {
			p.line("  also at %s", clean(strings.Join(f.Also, ", ")))
		}
		p.line("  %s", f.Rule.Breaks)
		p.remedy("  ", f.Fix)
	}
	failures, warnings := r.count()
	verdict := p.paint(green, "compatible")
	if !r.Compatible {
		verdict = p.paint(red, "not compatible")
	}
	p.line("%s: %s as the reader of %s; %s, %s", verdict, clean(r.reader), clean(r.writer), doctor.Count(failures, "error"), doctor.Count(warnings, "warning"))
}

func (r compatResult) count() (failures, warnings int) {
	for _, f := range r.Findings {
		if f.Rule.Severity == schemas.Error {
			failures++
		}
	}
	return failures, len(r.Findings) - failures
}

func compatSpec() *spec {
	var reader, writer string
	return &spec{
		use:   "compat",
		short: "Say whether one schema reads the data of another",
		long: `Judges by the Avro 1.12 specification, without any server, whether all data of
the writer's schema can be read under the reader's. Each file holds one schema; types
that it does not define are looked for in the other .avsc files of its own folder. - is
standard input, for one of them, with all its types. To ask for both directions, run it
twice.

Every finding has a rule (docs/compatibility.md lists them), the place in both files,
what breaks and what to do. It exits with 2 when data could not be read; warnings
alone exit with 0.`,
		example: `  runnel schemas compat --reader v2/OrderPlaced.avsc --writer v1/OrderPlaced.avsc
  git show main:OrderPlaced.avsc | runnel schemas compat --reader OrderPlaced.avsc --writer - -o json`,
		flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&reader, "reader", "", "`file` with the schema to read with (required)")
			cmd.Flags().StringVar(&writer, "writer", "", "`file` with the schema that data was written with (required)")
			_ = cmd.MarkFlagFilename("reader", "avsc") // fails for unknown flags only
			_ = cmd.MarkFlagFilename("writer", "avsc")
		},
		run: func(_ context.Context, c *call) (any, error) { return compat(c, reader, writer) },
	}
}

func compat(c *call, reader, writer string) (any, error) {
	switch {
	case reader == "":
		return nil, ErrUsage.New("--reader is missing").Fix("Name the schema to read with: --reader OrderPlaced.avsc.")
	case writer == "":
		return nil, ErrUsage.New("--writer is missing").Fix("Name the schema that data was written with: --writer v1/OrderPlaced.avsc.")
	case reader == stdinName && writer == stdinName:
		return nil, ErrUsage.New("--reader and --writer are both standard input").Fix("Name a file for one of them.")
	}
	r, readerErr := c.schema(reader)
	w, writerErr := c.schema(writer)
	if err := errors.Join(readerErr, writerErr); err != nil {
		return nil, err
	}
	result := compatResult{Findings: schemas.Compatibility(r, w), reader: reader, writer: writer}
	result.Compatible = !schemas.Incompatible(result.Findings)
	if result.Compatible {
		return result, nil
	}
	failures, _ := result.count()
	return result, schemas.ErrIncompatible.New("%s does not read all data of %s: %s", reader, writer, doctor.Count(failures, "error")).At("%s", reader).
		Fix("Follow the findings.")
}

const (
	stdinName = "-"
	// maxSchemaFile is more than schemas reads, so that it is the one to refuse.
	maxSchemaFile = 5 << 20
)

// schema reads a file, or standard input, with one schema.
func (c *call) schema(name string) (*schemas.Schema, error) {
	in, said, parse := c.stdin, name, wire.Schema
	if name == stdinName {
		said = "(standard input)"
		parse = func(file string, src []byte) (*schemas.Schema, error) { return schemas.Parse(src, file) } // of no folder
	} else {
		f, err := os.Open(name)
		if err != nil {
			return nil, ErrSchemaFile.Wrap(err, "opening the schema").At("%s", name)
		}
		defer func() { _ = f.Close() }() // only read
		in = f
	}
	src, err := io.ReadAll(io.LimitReader(in, maxSchemaFile))
	if err != nil {
		return nil, ErrSchemaFile.Wrap(err, "reading the schema").At("%s", said)
	}
	return parse(said, src)
}

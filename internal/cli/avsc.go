package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/outbox"
)

// avscFlags are those of `schemas gen avsc`. before is a pointer in
// outbox.TableOptions: not given, it is as the table is watched.
type avscFlags struct {
	table, out, aggregate string
	key, exclude          []string
	before, check, force  bool
}

// avscResult tells which files hold the schemas of a table's events.
type avscResult struct {
	Table   string   `json:"table"`
	Folder  string   `json:"folder"`
	Events  []string `json:"events"`
	Files   []string `json:"files"`
	Changed []string `json:"changed"` // written, or with --check: would be
}

func (r avscResult) text(p *printer) {
	p.line("%s: %d files for %s in %s, %d changed", clean(r.Table), len(r.Files), strings.Join(r.Events, " and "), clean(r.Folder), len(r.Changed))
}

func avscSpec() *spec {
	var f avscFlags
	return &spec{
		use:   "avsc",
		short: "Write the schemas of a table's events",
		long: `Asks the database how the rows of a table are published by runnel.watch, and
writes the .avsc files of their events: <Aggregate>Changed and <Aggregate>Deleted,
and what they are made of, with the comments of the table and its columns.

For a table that is watched, the schema is the one that runnel.watch, called
again, would take: what the table has now, and the fields that events under way
have. Else give --aggregate, and what runnel.watch will be given.

A file that is there and differs is not overwritten without --force, and never
when it is a type of other events too. Nothing is written unless the whole folder
is a catalog with it. --check writes nothing and exits with 2 when a file is not
current.`,
		example: `  runnel schemas gen avsc --from-table public.customers --aggregate customer --out ./schemas
  runnel schemas gen avsc --from-table public.customers --out ./schemas --force`,
		flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&f.table, "from-table", "", "`table`, as SQL names it (required)")
			cmd.Flags().StringVar(&f.out, "out", "", "`folder` of the files; default: that of --schemas")
			cmd.Flags().StringVar(&f.aggregate, "aggregate", "", "aggregate `type`; required unless the table is watched")
			cmd.Flags().StringSliceVar(&f.key, "key", nil, "`columns` that make the aggregate id; default: the primary key")
			cmd.Flags().BoolVar(&f.before, "before", false, "with the row as it was before")
			cmd.Flags().StringSliceVar(&f.exclude, "exclude", nil, "`columns` that are left out")
			cmd.Flags().BoolVar(&f.check, "check", false, "write nothing; exit with 2 when a file is not current")
			cmd.Flags().BoolVar(&f.force, "force", false, "overwrite files that differ")
			_ = cmd.MarkFlagDirname("out") // fails for unknown flags only
		},
		run: func(ctx context.Context, c *call) (any, error) { return genAvsc(ctx, c, f) },
	}
}

func genAvsc(ctx context.Context, c *call, f avscFlags) (any, error) {
	if f.table == "" {
		return nil, ErrUsage.New("--from-table is missing").Fix("Name the table: --from-table public.customers.")
	}
	cfg, err := c.config("postgres.url")
	if err != nil {
		return nil, err
	}
	if f.out == "" {
		f.out = cfg.Schemas
	}
	if f.out == "" {
		return nil, ErrUsage.New("--out is missing").Fix("Name the folder of the schemas: --out ./schemas.")
	}
	options := outbox.TableOptions{AggregateType: f.aggregate, Key: f.key, Exclude: f.exclude}
	if c.cmd.Flags().Changed("before") {
		options.Before = &f.before
	}
	conn, err := c.deps.postgres(ctx, cfg, "schemas gen")
	if err != nil {
		return nil, err
	}
	defer wire.Close(conn)
	types, err := outbox.TableSchemas(ctx, conn, f.table, options)
	if err != nil {
		return nil, wire.QueryFault(err, "read the table's schemas")
	}
	r := avscResult{Table: f.table, Folder: f.out, Changed: []string{}}
	files := map[string][]byte{}
	for _, t := range types {
		if !t.Fingerprint.IsZero() {
			r.Events = append(r.Events, t.Name)
		}
		if files[t.Name+".avsc"], err = prettySchema(t.Definition); err != nil {
			return nil, err
		}
	}
	r.Files = slices.Sorted(maps.Keys(files))
	return writeSchemas(r, files, f, c.cmd.Flags().Changed("before"))
}

// prettySchema lays a schema out as people write it: a member a line, and a
// record's field a line.
func prettySchema(definition string) ([]byte, error) {
	members, err := orderedMembers([]byte(definition))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for i, m := range members {
		b.WriteString(map[bool]string{true: "{\n  ", false: ",\n  "}[i == 0] + m.key + ": ")
		var fields []json.RawMessage
		if m.key != `"fields"` || json.Unmarshal(m.value, &fields) != nil || len(fields) == 0 {
			b.Write(spaced(m.value))
			continue
		}
		for j, field := range fields {
			b.WriteString(map[bool]string{true: "[\n    ", false: ",\n    "}[j == 0])
			b.Write(spaced(field))
		}
		b.WriteString("\n  ]")
	}
	b.WriteString("\n}\n")
	return b.Bytes(), nil
}

type orderedMember struct {
	key   string // with its quotes
	value json.RawMessage
}

// orderedMembers returns the members of a JSON object as they stand.
func orderedMembers(object []byte) ([]orderedMember, error) {
	d := json.NewDecoder(bytes.NewReader(object))
	if brace, err := d.Token(); err != nil || brace != json.Delim('{') {
		return nil, fmt.Errorf("a schema that is no JSON object: %.100s", object)
	}
	var all []orderedMember
	for d.More() {
		name, err := d.Token() // a string, between the members of an object
		if err != nil {
			return nil, err
		}
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		all = append(all, orderedMember{string(key), value})
	}
	return all, nil
}

// spaced puts a space after each comma and colon that is not within a string.
func spaced(text []byte) []byte {
	var out []byte
	inString := false
	for i, c := range text {
		if c == '"' && (i == 0 || !inString || !escaped(text[:i])) {
			inString = !inString
		}
		out = append(out, c)
		if !inString && (c == ',' || c == ':') {
			out = append(out, ' ')
		}
	}
	return out
}

// escaped reports whether what follows text is escaped by a backslash.
func escaped(text []byte) bool {
	return (len(text)-len(bytes.TrimRight(text, `\`)))%2 == 1
}

package cli

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/internal/config"
)

// app is one run of the command line. It is used by one goroutine.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
	deps           deps

	output string // text or json
	color  string // auto, always or never

	result    any            // of the command that ran; shown even when it failed
	streaming bool           // standard output holds JSON lines: envelopes go to standard error
	helped    bool           // the output was a help text
	ran       *cobra.Command // instead of the one that was named; usually nil
}

// main runs args and returns the exit code.
func (a *app) main(ctx context.Context, args []string) int {
	a.output = askedOutput(args)
	a.color = "auto"
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if a.ran != nil {
		cmd = a.ran
	}
	return a.finish(ctx, cmd, err)
}

// askedOutput finds -o before the command line is parsed, so that even a
// mistake in it is reported in the format asked for.
func askedOutput(args []string) string {
	for i, arg := range args {
		if arg == "--" {
			break
		}
		for _, name := range []string{"-o", "--output"} {
			if rest, ok := strings.CutPrefix(arg, name); ok && strings.TrimPrefix(rest, "=") == "json" {
				return "json"
			}
			if arg == name && i+1 < len(args) && args[i+1] == "json" {
				return "json"
			}
		}
	}
	return "text"
}

// root builds the command tree.
func (a *app) root() *cobra.Command {
	var version bool
	root := &cobra.Command{
		Use:   "runnel",
		Short: "Publish the events of a Postgres outbox to Apache Pulsar, exactly once",
		Long: `Runnel reads the outbox of a Postgres database from the write-ahead log and
publishes each event to Apache Pulsar, Avro-encoded, exactly once and in commit
order per aggregate.`,
		Example: `  runnel demo                          # see it work, with servers of its own
  runnel init                          # create the outbox
  runnel run --auto-apply              # publish, creating what is missing
  runnel tail --follow                 # watch the events pass`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if !version {
				return cmd.Help()
			}
			if a.ran, _, err = cmd.Find([]string{"version"}); err != nil {
				return err
			}
			a.ran.SetContext(cmd.Context())
			return a.ran.RunE(a.ran, nil)
		},
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.Flags().BoolVar(&version, "version", false, "print the version")
	flags := root.PersistentFlags()
	flags.VarP(&choice{&a.output, []string{"text", "json"}}, "output", "o", "output `format`: text or json")
	flags.Var(&choice{&a.color, []string{"auto", "always", "never"}}, "color", "`when` to use colours: auto, always or never")
	flags.String("config", "", "configuration `file` (RUNNEL_CONFIG; default "+config.DefaultFile+" if it exists)")
	flags.String("name", "", "pipeline's `name` (RUNNEL_NAME; default the database's)")
	flags.String("postgres", "", "source database `url` (RUNNEL_POSTGRES_URL)")
	flags.String("pulsar", "", "broker `url` (RUNNEL_PULSAR_URL)")
	flags.String("pulsar-admin", "", "broker's admin `url` (RUNNEL_PULSAR_ADMIN_URL)")
	flags.String("schemas", "", "`folder` of .avsc files (RUNNEL_SCHEMAS)")
	completeFrom(root, "output", "text", "json")
	completeFrom(root, "color", "auto", "always", "never")
	_ = root.MarkPersistentFlagFilename("config", "yaml", "yml") // fails for unknown flags only
	_ = root.MarkPersistentFlagDirname("schemas")

	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.DisableDefaultCmd = true // ours has -o and examples
	a.addHelp(root)
	for _, s := range a.commands() {
		root.AddCommand(a.build(s))
	}
	return root
}

// commands are all commands, in the order in which the help lists them.
func (a *app) commands() []*spec {
	return []*spec{
		initSpec(), runSpec(), demoSpec(), devSpec(), doctorSpec(), statusSpec(), tailSpec(), slotSpec(), dlqSpec(), rebuildSpec(), waitSpec(),
		routeSpec(), schemasSpec(), configSpec(), versionSpec(), completionSpec(),
	}
}

// loadConfig merges the flags that were given with the other sources, and
// requires the keys named.
func (a *app) loadConfig(cmd *cobra.Command, need ...string) (*config.Config, error) {
	given := map[string]string{}
	for _, name := range config.Flags() {
		if f := cmd.Flags().Lookup(name); f != nil && f.Changed {
			given[name] = f.Value.String()
		}
	}
	file := ""
	if f := cmd.Flags().Lookup("config"); f != nil {
		file = f.Value.String()
	}
	c, err := config.Load(config.Options{File: file, Flags: given, Environ: a.environ})
	for _, w := range c.Warnings {
		a.message("warning: %s", w)
	}
	if err != nil {
		return c, err
	}
	return c, c.Need(need...)
}

func (a *app) getenv(name string) string {
	for _, pair := range slices.Backward(a.environ) {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

// completeFrom offers fixed values to the shell.
func completeFrom(cmd *cobra.Command, flag string, values ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // fails for unknown flags only
}

// file returns w as the file that it may be.
func file(w any) *os.File {
	f, _ := w.(*os.File)
	return f
}

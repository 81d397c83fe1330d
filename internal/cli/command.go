package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/nearest"
)

// A spec is one command. Short, Long and Example are required (a test asks).
type spec struct {
	use, short, long, example string

	args     cobra.PositionalArgs     // default: none
	complete func() []string          // values of the first argument
	flags    func(cmd *cobra.Command) // defines the command's own flags
	// run does the work. The result is printed: see texter. With an error, a
	// result that is not nil is shown too.
	run func(ctx context.Context, c *call) (result any, err error)

	sub []*spec // a command with subcommands has no run
}

// A call is one run of one command.
type call struct {
	*app
	cmd  *cobra.Command
	args []string
}

// config loads the configuration and requires the keys named.
func (c *call) config(need ...string) (*config.Config, error) { return c.loadConfig(c.cmd, need...) }

// build makes the cobra command of a spec.
func (a *app) build(s *spec) *cobra.Command {
	cmd := &cobra.Command{
		Use: s.use, Short: s.short, Long: s.long, Example: s.example,
		Args:                  s.args,
		DisableFlagsInUseLine: true,
	}
	if cmd.Args == nil {
		cmd.Args = noArgs
	}
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if s.complete == nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return s.complete(), cobra.ShellCompDirectiveNoFileComp
	}
	if s.flags != nil {
		s.flags(cmd)
	}
	if len(s.sub) > 0 {
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = func(cmd *cobra.Command, args []string) error { return unknownCommand(cmd, args) }
		for _, sub := range s.sub {
			cmd.AddCommand(a.build(sub))
		}
		return cmd
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		result, err := s.run(cmd.Context(), &call{a, cmd, args})
		a.result = result
		return err
	}
	return cmd
}

func noArgs(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case cmd.HasSubCommands():
		return unknownCommand(cmd, args)
	}
	return ErrUsage.New("unexpected argument %.100q", args[0]).
		Fix("`%s` takes no arguments; see `%s --help`.", cmd.CommandPath(), cmd.CommandPath())
}

// oneArg requires exactly one argument, called name.
func oneArg(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch len(args) {
		case 1:
			return nil
		case 0:
			return ErrUsage.New("%s is missing", name).Fix("Write `runnel %s`; see `%s --help`.", usageLine(cmd), cmd.CommandPath())
		}
		return ErrUsage.New("unexpected argument %.100q", args[1]).
			Fix("`%s` takes one %s; see `%s --help`.", cmd.CommandPath(), name, cmd.CommandPath())
	}
}

// optionalArg allows one argument, called name.
func optionalArg(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) <= 1 {
			return nil
		}
		return ErrUsage.New("unexpected argument %.100q", args[1]).
			Fix("`%s` takes one %s at most; see `%s --help`.", cmd.CommandPath(), name, cmd.CommandPath())
	}
}

func usageLine(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.UseLine(), cmd.Root().Name()+" ")
}

// unknownCommand reports a missing or unknown subcommand with the nearest.
func unknownCommand(cmd *cobra.Command, args []string) error {
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	slices.Sort(names)
	path := cmd.CommandPath()
	if len(args) == 0 {
		return ErrUsage.New("`%s` needs a command", path).Fix("Choose one of: %s.", strings.Join(names, ", "))
	}
	e := ErrUsage.New("`%s` has no command %.100q", path, args[0])
	if near := nearest.Of(args[0], names); near != "" {
		return e.Fix("Did you mean `%s %s`?", path, near)
	}
	return e.Fix("See `%s --help`.", path)
}

// flagError gives cobra's complaint about a flag a code, and the nearest flag.
func flagError(cmd *cobra.Command, err error) error {
	text := err.Error()
	e := ErrUsage.New("%s", text)
	if name, ok := strings.CutPrefix(text, "unknown flag: --"); ok {
		if name == "version" { // of the root alone
			return e.Fix("See `%s version`.", cmd.Root().Name())
		}
		var names []string
		for _, line := range flagNames(cmd) {
			names = append(names, "--"+line)
		}
		if near := nearest.Of("--"+name, names); near != "" {
			return e.Fix("Did you mean %s?", near)
		}
	}
	return e.Fix("See `%s --help`.", cmd.CommandPath())
}

// choice is a flag with a fixed set of values.
type choice struct {
	value  *string
	values []string
}

func (c *choice) String() string {
	if c.value == nil {
		return ""
	}
	return *c.value
}

func (c *choice) Set(text string) error {
	if !slices.Contains(c.values, text) {
		return fmt.Errorf("want one of %s", strings.Join(c.values, ", "))
	}
	*c.value = text
	return nil
}

func (c *choice) Type() string { return "string" }

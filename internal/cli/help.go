package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const exitCodes = `Exit codes:
  0 fine; 1 failed at run time; 2 wrong input or findings; 3 environment
  (cannot connect, missing grant or setting); 130, 143 interrupted
`

// positionHelp explains what status and tail show.
const positionHelp = `A position is epoch-lsn-index-ordinal, in hexadecimal, as in the message's
property "position": the history of the database, the commit's place in its
write-ahead log, the event's number in the transaction (from 0) and in its
partition (from 1). As text they sort in the order of the commits.`

// help writes the help on cmd. All commands have this one form.
func help(cmd *cobra.Command) string {
	var b strings.Builder
	section := func(title, body string) {
		if body = strings.TrimRight(body, "\n "); body != "" {
			fmt.Fprintf(&b, "\n%s:\n%s\n", title, body)
		}
	}
	b.WriteString(strings.TrimSpace(cmd.Long) + "\n")
	group := cmd.HasAvailableSubCommands()
	if group {
		section("Usage", "  "+cmd.CommandPath()+" <command> [flags]")
		var commands strings.Builder
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(&commands, "  %-12s %s\n", sub.Name(), sub.Short)
			}
		}
		section("Commands", commands.String())
	} else {
		section("Usage", "  "+cmd.UseLine()+" [flags]")
	}
	section("Examples", cmd.Example)
	section("Flags", cmd.LocalNonPersistentFlags().FlagUsages())
	section("Common flags", cmd.Root().PersistentFlags().FlagUsages())
	b.WriteString("\n" + exitCodes)
	if group {
		fmt.Fprintf(&b, "\nRun \"%s <command> --help\" for a command.\n", cmd.CommandPath())
	}
	return b.String()
}

// addHelp sets the help's form, and a help command that fails as others do.
func (a *app) addHelp(root *cobra.Command) {
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		p := &printer{w: a.stdout}
		p.print("%s", help(cmd))
		a.helped = true
	})
	root.SetHelpCommand(&cobra.Command{
		Use:                   "help [command]",
		Short:                 "Help on a command",
		Long:                  "Prints the help on a command; the same as the flag --help.",
		Example:               "  runnel help dev up",
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			target := cmd.Root()
			for i, name := range args {
				at := slices.IndexFunc(target.Commands(), func(c *cobra.Command) bool { return c.Name() == name })
				if at < 0 {
					return unknownCommand(target, args[i:])
				}
				target = target.Commands()[at]
			}
			return target.Help()
		},
	})
}

// flagNames are the names of all flags that cmd takes.
func flagNames(cmd *cobra.Command) []string {
	var names []string
	add := func(f *pflag.Flag) { names = append(names, f.Name) }
	cmd.LocalFlags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	slices.Sort(names)
	return slices.Compact(names)
}

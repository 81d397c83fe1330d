package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}Usage:
{{- if .HasAvailableSubCommands}}
  {{.CommandPath}} <command> [flags]

Commands:
{{- range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding }} {{.Short}}{{end}}{{end}}
{{- else}}
  {{.UseLine}}
{{- end}}
{{- if .HasExample}}

Examples:
{{.Example}}
{{- end}}
{{- if and .HasParent .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}
{{- end}}

Common flags:
{{common . | trimTrailingWhitespaces}}

Exit codes:
  0 fine; 1 failed at run time; 2 wrong input or findings; 3 environment
  (cannot connect, missing grant or setting); 130, 143 interrupted
{{- if .HasAvailableSubCommands}}

Run "{{.CommandPath}} <command> --help" for a command.
{{- end}}
`

// addHelp sets the help's form, and a help command that fails as others do.
func (a *app) addHelp(root *cobra.Command) {
	cobra.AddTemplateFunc("common", func(cmd *cobra.Command) string {
		return cmd.Root().PersistentFlags().FlagUsages()
	})
	root.SetHelpTemplate(helpTemplate)
	root.SetUsageTemplate(helpTemplate)
	help := &cobra.Command{
		Use:                   "help [command]",
		Short:                 "Help on a command",
		Long:                  "Prints the help on a command; the same as the flag --help.",
		Example:               "  runnel help dev up",
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			target, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				parent := cmd.Root()
				if target != nil {
					parent = target
				}
				return unknownCommand(parent, rest)
			}
			return target.Help()
		},
	}
	root.SetHelpCommand(help)
}

// helped reports whether the command's output was a help text.
func helped(cmd *cobra.Command) bool {
	f := cmd.Flags().Lookup("help")
	return cmd.Name() == "help" || cmd == cmd.Root() || f != nil && f.Changed
}

// flagNames are the names of all flags that cmd takes.
func flagNames(cmd *cobra.Command) []string {
	var names []string
	add := func(f *pflag.Flag) { names = append(names, f.Name) }
	cmd.LocalFlags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	slices.Sort(names)
	return slices.CompactFunc(names, func(a, b string) bool { return strings.EqualFold(a, b) })
}

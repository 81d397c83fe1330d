package cli

import (
	"bytes"
	"context"

	"github.com/runnel-cdc/runnel/internal/nearest"
)

// scriptResult is text to be used as it is: by a shell, psql or a pager.
type scriptResult struct {
	Script string `json:"script"`
}

func (s scriptResult) text(p *printer) { p.print("%s", s.Script) }

var shells = []string{"bash", "zsh", "fish", "powershell"}

func completionSpec() *spec {
	return &spec{
		use:   "completion SHELL",
		short: "Print a shell's completion script",
		long: `Prints the script that completes runnel's commands and flags in a shell:
bash, zsh, fish or powershell.`,
		example: `  source <(runnel completion bash)
  runnel completion zsh > "${fpath[1]}/_runnel"
  runnel completion fish > ~/.config/fish/completions/runnel.fish`,
		args:     oneArg("SHELL"),
		complete: func() []string { return shells },
		run: func(_ context.Context, c *call) (any, error) {
			var b bytes.Buffer
			var err error
			root := c.cmd.Root()
			switch c.args[0] {
			case "bash":
				err = root.GenBashCompletionV2(&b, true)
			case "zsh":
				err = root.GenZshCompletion(&b)
			case "fish":
				err = root.GenFishCompletion(&b, true)
			case "powershell":
				err = root.GenPowerShellCompletionWithDesc(&b)
			default:
				e := ErrUsage.New("no completion for the shell %.40q", c.args[0])
				if near := nearest.Of(c.args[0], shells); near != "" {
					return nil, e.Fix("Did you mean %s?", near)
				}
				return nil, e.Fix("Choose bash, zsh, fish or powershell.")
			}
			return scriptResult{b.String()}, err
		},
	}
}

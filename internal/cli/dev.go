package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/doctor"
)

// devResult is the state of the local servers.
type devResult struct {
	Folder      string            `json:"folder"`
	Servers     []devServer       `json:"servers"`
	Environment map[string]string `json:"environment"` // to be exported; of servers that run
}

type devServer struct {
	Name     string     `json:"name"`
	Version  string     `json:"version"`
	Running  bool       `json:"running"`
	PID      int        `json:"pid"`   // 0 when it does not run
	Since    *time.Time `json:"since"` // null when it does not run
	URL      string     `json:"url"`
	AdminURL string     `json:"admin_url,omitempty"`
	Log      string     `json:"log"`
}

func newDevResult(s *devstack.Stack) devResult {
	r := devResult{Folder: s.Dir(), Servers: []devServer{}, Environment: map[string]string{}}
	for _, x := range s.Servers() {
		d := devServer{Name: x.Name, Version: x.Version, Running: x.Running, PID: x.PID, URL: x.URL, AdminURL: x.AdminURL, Log: x.Log}
		if !x.Since.IsZero() {
			d.Since = &x.Since
		}
		r.Servers = append(r.Servers, d)
	}
	for _, pair := range s.Environment() {
		name, value, _ := strings.Cut(pair, "=")
		if r.runs(value) {
			r.Environment[name] = value
		}
	}
	return r
}

// runs reports whether a server that runs has that address.
func (r devResult) runs(address string) bool {
	return slices.ContainsFunc(r.Servers, func(s devServer) bool {
		return s.Running && (s.URL == address || s.AdminURL == address)
	})
}

// all reports whether there are servers, and all run.
func (r devResult) all() bool {
	return len(r.Servers) > 0 && !slices.ContainsFunc(r.Servers, func(s devServer) bool { return !s.Running })
}

// runsAll reports whether what is asked for runs: everything, or only one server.
func (r devResult) runsAll(only string) bool {
	if only == "" {
		return len(r.Servers) == 2 && r.all()
	}
	return slices.ContainsFunc(r.Servers, func(s devServer) bool { return s.Running && strings.EqualFold(s.Name, only) })
}

// usualFolder reports whether a folder is the one that commands look into without --dir.
func usualFolder(folder string) bool {
	usual, err := devstack.DefaultDir()
	return err == nil && usual == folder
}

// elsewhere says how to find servers that were started with --dir; "" where it was given.
func elsewhere(folder, words string) string {
	if !usualFolder(folder) {
		return ""
	}
	return "for servers that were started with --dir, write `runnel dev " + words + " --dir FOLDER`"
}

// command is a command of dev for this folder.
func (r devResult) command(words string) string {
	if usualFolder(r.Folder) {
		return "runnel dev " + words
	}
	return "runnel dev " + words + " --dir " + r.Folder // which holds nothing special to a shell
}

func (r devResult) text(p *printer) {
	for _, s := range r.Servers {
		state := p.paint(red, "down")
		if s.Running {
			state = fmt.Sprintf("%s, process %d for %s", p.paint(green, "up"), s.PID, doctor.FormatAge(*s.Since))
		}
		p.line("%s %s: %s", p.paint(bold, s.Name), s.Version, state)
		rows := [][]string{{"  address", s.URL}}
		if s.AdminURL != "" {
			rows = append(rows, []string{"  admin", s.AdminURL})
		}
		p.table(append(rows, []string{"  log", s.Log}), nil)
	}
	switch {
	case len(r.Servers) == 0:
		p.line("no servers in %s; start them with `%s`", r.Folder, r.command("up"))
		if hint := elsewhere(r.Folder, "status"); hint != "" {
			p.line("%s", hint)
		}
	case r.all():
		p.line("to use them in this shell: eval \"$(%s)\"", r.command("env"))
	default:
		p.line("start what is down with `%s`", r.command("up"))
	}
}

// envResult is read by a shell: eval "$(runnel dev env)".
type envResult map[string]string

func (r envResult) text(p *printer) {
	for _, name := range []string{devstack.EnvPostgres, devstack.EnvPulsar, devstack.EnvPulsarAdmin} {
		if value := r[name]; value != "" {
			p.line("export %s='%s'", name, strings.ReplaceAll(value, "'", `'\''`))
		}
	}
}

type downResult struct {
	Folder  string `json:"folder"`
	Found   bool   `json:"found"`   // the folder holds servers' data
	Removed bool   `json:"removed"` // the data too
}

func (r downResult) text(p *printer) {
	switch {
	case !r.Found:
		p.line("nothing to do: there are no servers in %s", r.Folder)
		if hint := elsewhere(r.Folder, "down"); hint != "" {
			p.line("%s", hint)
		}
	case r.Removed:
		p.line("the servers are down, their data in %s is removed", r.Folder)
	default:
		p.line("the servers are down; their data stays in %s", r.Folder)
	}
}

func devSpec() *spec {
	var dir, pgVersion, only string
	var purge bool
	timeout := 2 * time.Minute
	folder := func(cmd *cobra.Command) {
		cmd.Flags().StringVar(&dir, "dir", "", "`folder` of the servers; default: runnel in the state folder of the user")
		_ = cmd.MarkFlagDirname("dir") // fails for unknown flags only
	}
	open := func() (*devstack.Stack, error) {
		where, err := devFolder(dir)
		if err != nil {
			return nil, err
		}
		return devstack.Open(where)
	}
	return &spec{
		use:   "dev",
		short: "Local servers to develop with",
		long: `Runs a real Postgres and a real Pulsar on this machine, without containers, for
development. They listen on the loopback interface only.`,
		example: "  runnel dev up\n  eval \"$(runnel dev env)\"\n  runnel dev down",
		sub: []*spec{
			{
				use:   "up",
				short: "Start the servers",
				long: `Starts what does not run yet and returns when it is ready. The servers stay, and
keep their data, until they are stopped. "runnel dev env" prints their addresses
for a shell. Servers of your own, in RUNNEL_POSTGRES_URL and the like, are not looked
at: start with --only what you lack.`,
				example: "  runnel dev up && eval \"$(runnel dev env)\"\n  runnel dev up --pg 17\n  runnel dev up --only postgres",
				flags: func(cmd *cobra.Command) {
					folder(cmd)
					pgFlag(cmd, &pgVersion)
					cmd.Flags().StringVar(&only, "only", "", "start this `server` alone: postgres or pulsar")
					_ = cmd.RegisterFlagCompletionFunc("only", cobra.FixedCompletions([]string{"postgres", "pulsar"}, cobra.ShellCompDirectiveNoFileComp)) // fails for unknown flags only
					cmd.Flags().DurationVar(&timeout, "timeout", timeout, "`limit` for one server to be ready")
				},
				run: func(ctx context.Context, c *call) (any, error) {
					if only != "" && only != "postgres" && only != "pulsar" {
						return nil, ErrUsage.New("--only %q: there are postgres and pulsar", only).Fix("Write `--only postgres`, for example.")
					}
					where, err := devFolder(dir)
					if err != nil {
						return nil, err
					}
					progress := func(text string) { c.message("%s", text) }
					if before, err := devstack.Open(where); err == nil && newDevResult(before).runsAll(only) {
						progress = nil // which would tell of a start
						c.message("the servers run already")
					}
					stack, err := devstack.Up(ctx, devstack.Options{
						Dir: where, Postgres: only != "pulsar", Pulsar: only != "postgres", PGVersion: pgVersion, Timeout: timeout, Progress: progress,
					})
					if err != nil {
						return nil, err
					}
					return newDevResult(stack), nil
				},
			},
			{
				use:     "down",
				short:   "Stop the servers",
				long:    "Stops the servers. Their data stays, unless --purge is given. It exits with 0 also\nwhen there is nothing to stop.",
				example: "  runnel dev down\n  runnel dev down --purge",
				flags: func(cmd *cobra.Command) {
					folder(cmd)
					cmd.Flags().BoolVar(&purge, "purge", false, "remove their data too")
				},
				run: func(ctx context.Context, _ *call) (any, error) {
					stack, err := open()
					if err != nil {
						return nil, err
					}
					found := len(stack.Servers()) > 0
					if err = stack.Down(ctx); err == nil && purge {
						err = stack.Remove()
					}
					if err != nil {
						return nil, err
					}
					return downResult{stack.Dir(), found, found && purge}, nil
				},
			},
			{
				use:     "status",
				short:   "Show the servers",
				long:    "Shows whether the servers run, where, and their logs. It exits with 0 either way.",
				example: "  runnel dev status\n  runnel dev status -o json | jq .result.servers",
				flags:   folder,
				run: func(context.Context, *call) (any, error) {
					stack, err := open()
					if err != nil {
						return nil, err
					}
					return newDevResult(stack), nil
				},
			},
			{
				use:     "env",
				short:   "Print the servers' addresses for a shell",
				long:    "Prints the addresses of the servers that run as export lines for a shell.",
				example: "  eval \"$(runnel dev env)\"",
				flags:   folder,
				run: func(context.Context, *call) (any, error) {
					stack, err := open()
					if err != nil {
						return nil, err
					}
					r := newDevResult(stack)
					if len(r.Environment) == 0 {
						e := ErrDevDown.New("nothing runs in %s", r.Folder).Fix("Start them with `%s`.", r.command("up"))
						if hint := elsewhere(r.Folder, "env"); hint != "" {
							e.Remedy = fmt.Sprintf("Start them with `%s`; %s.", r.command("up"), hint)
						}
						return nil, e
					}
					return envResult(r.Environment), nil
				},
			},
		},
	}
}

// pgFlag picks the Postgres of servers that are started.
func pgFlag(cmd *cobra.Command, version *string) {
	cmd.Flags().StringVar(version, "pg", "", "major `version` of the Postgres that is started; default: the newest on this machine")
}

func devFolder(dir string) (string, error) {
	if dir != "" {
		return dir, nil
	}
	return devstack.DefaultDir()
}

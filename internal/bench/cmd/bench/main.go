// Command bench measures Runnel beside the limits of its servers: see package bench.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/runnel-cdc/runnel/internal/bench"
	"github.com/runnel-cdc/runnel/internal/cli"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "daemon" {
		os.Exit(profiled(os.Args[2:]))
	}
	began := time.Now()
	o := bench.Options{Say: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%6.1fs  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}}
	flag.StringVar(&o.Binary, "runnel", "bin/runnel", "the daemon's `program`")
	flag.StringVar(&o.PGVersion, "pg", "", "Postgres' major `version`")
	flag.IntVar(&o.Rows, "rows", 300_000, "`rows` of a backlog")
	flag.IntVar(&o.Rounds, "rounds", 3, "`rounds` of each measurement")
	flag.BoolVar(&o.Long, "long", false, "measure what takes long as well")
	flag.BoolVar(&o.Peer, "peer", false, "measure Debezium Server as well, which peer/setup fetches")
	jsonFile := ""
	flag.StringVar(&jsonFile, "json", "", "`file` for the figures")
	flag.StringVar(&o.Only, "only", "", "`part` of the names of what is measured")
	flag.StringVar(&o.Profiles, "profiles", "", "`folder` for profiles of the daemons; the figures are not to be compared then")
	doc := ""
	flag.StringVar(&doc, "doc", "", "`file` whose figures are to be replaced by these")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	report, err := bench.Run(ctx, o)
	if err == nil && jsonFile != "" {
		var data []byte
		if data, err = json.MarshalIndent(report, "", "  "); err == nil {
			err = os.WriteFile(jsonFile, append(data, '\n'), 0o644)
		}
	}
	if err == nil && doc != "" {
		err = bench.ReplaceFigures(doc, report.Markdown())
	}
	fmt.Print(report.Markdown())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// profiled is `runnel`, with profiles of it.
func profiled(args []string) int {
	folder := os.Getenv(bench.ProfilesVariable)
	cpu, err := os.Create(filepath.Join(folder, "cpu.pprof"))
	if err == nil {
		err = pprof.StartCPUProfile(cpu)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := cli.Main(args, os.Stdin, os.Stdout, os.Stderr)
	pprof.StopCPUProfile()
	for _, name := range []string{"allocs", "mutex", "block"} {
		if f, err := os.Create(filepath.Join(folder, name+".pprof")); err == nil {
			_ = pprof.Lookup(name).WriteTo(f, 0)
			_ = f.Close()
		}
	}
	return code
}

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/runnel-cdc/runnel/internal/torture/mutants"
)

// playMutants shows, from the root of the source tree, that each known bug is caught.
func playMutants(args []string) (int, error) {
	r := mutants.Runner{Root: ".", Out: os.Stdout}
	flags := flag.NewFlagSet("torture mutants", flag.ContinueOnError)
	flags.Uint64Var(&r.Seed, "seed", 1, "of the harness's runs")
	flags.StringVar(&r.PG, "pg", "", "Postgres' major version; default: the newest here")
	only := flags.String("only", "", "names of mutants, with commas; default: all")
	if err := flags.Parse(args); err != nil {
		return 2, err
	}
	all, err := mutants.Load("internal/torture/mutants/patches")
	if err != nil {
		return 2, err
	}
	if *only != "" {
		var chosen []mutants.Mutant
		for name := range strings.SplitSeq(*only, ",") {
			i := slices.IndexFunc(all, func(m mutants.Mutant) bool { return m.Name == name })
			if i < 0 {
				return 2, fmt.Errorf("no mutant is called %q", name)
			}
			chosen = append(chosen, all[i])
		}
		all = chosen
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	results, err := r.Run(ctx, all)
	escaped := 0
	fmt.Println("\n| mutant | bug | played | caught by | time |\n|---|---|---|---|---|")
	for _, one := range results {
		by := one.By
		if !one.Caught {
			by, escaped = "**escaped** "+by, escaped+1
		}
		played := one.Mutant.Faults
		if one.Mutant.Test != "" {
			played = one.Mutant.Test
		}
		fmt.Printf("| %s | %s | `%s` | %s | %s |\n", one.Mutant.Name, one.Mutant.Bug, played, by, one.Duration.Round(time.Second))
	}
	if err != nil {
		return 2, err
	}
	fmt.Printf("\n%d of %d mutants caught\n", len(results)-escaped, len(results))
	if escaped > 0 {
		return 1, nil
	}
	return 0, nil
}

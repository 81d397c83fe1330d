// Command torture runs the harness of internal/torture, or judges the history of
// a run again:
//
//	torture run [-seed N] [-faults LIST] [-duration D] [-dir DIR] [-jumping PROGRAM]
//	torture judge DIR
//	torture mutants [-seed N] [-only NAME,NAME]
//	torture huge [-rows N] [-bytes N] [-kill]
//
// It must be built with the tag failpoints to run. It exits with 1 when
// there are findings, or a mutant escaped, with 2 when the run itself failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/runnel-cdc/runnel/internal/failpoint"
	"github.com/runnel-cdc/runnel/internal/torture"
)

func main() {
	code, err := command(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 2
	}
	os.Exit(code)
}

func command(args []string) (int, error) {
	if len(args) == 0 {
		return 2, errors.New("usage: torture run [-seed N] [-faults LIST] [-duration D] [-dir DIR], torture judge DIR, torture mutants [-only NAMES], or torture huge [-rows N] [-bytes N] [-kill]")
	}
	switch args[0] {
	case "run":
		return run(args[1:])
	case "judge":
		if len(args) != 2 {
			return 2, errors.New("usage: torture judge DIR")
		}
		h, err := torture.Load(args[1])
		if err != nil {
			return 2, err
		}
		return tell(torture.Judge(h)), nil
	case "huge":
		return playHuge(args[1:])
	case "mutants":
		return playMutants(args[1:])
	// What a run starts.
	case "daemon":
		return 0, torture.Daemon()
	case "copy":
		return 0, torture.Copy()
	case "repair":
		return 0, torture.Repair()
	case "burn":
		torture.Burn()
		return 0, nil
	}
	return 2, fmt.Errorf("unknown command %q: run, judge, mutants or huge", args[0])
}

func run(args []string) (int, error) {
	o := torture.Options{Out: os.Stdout}
	flags := flag.NewFlagSet("torture run", flag.ContinueOnError)
	flags.Uint64Var(&o.Seed, "seed", 0, "draws workload and faults; 0: one of the clock's")
	flags.StringVar(&o.Faults, "faults", "", "how many faults, or which: kind,kind*3; of "+strings.Join(torture.FaultNames(), " "))
	flags.DurationVar(&o.Duration, "duration", 0, "how long faults are drawn when their number is not given; default 3m")
	flags.DurationVar(&o.Pace, "pace", 0, "pause between the transactions of each of four writers; default 40ms")
	flags.IntVar(&o.Before, "before", 0, "events in the outbox before the first start; default 3000")
	flags.StringVar(&o.Dir, "dir", "", "folder of the history; default: a new one for temporary files")
	flags.StringVar(&o.Binary, "jumping", "", "this program, built so that its clock jumps: for daemon and projection")
	flags.StringVar(&o.PGVersion, "pg", "", "Postgres' major version; default: the newest here")
	if err := flags.Parse(args); err != nil {
		return 2, err
	}
	if !failpoint.Enabled {
		return 2, errors.New("built without the tag failpoints; use make torture")
	}
	if o.Seed == 0 {
		o.Seed = uint64(time.Now().UnixNano() % 1_000_000)
	}
	var err error
	if o.Jumps = o.Binary != ""; o.Jumps {
		o.Binary, err = filepath.Abs(o.Binary)
	} else {
		o.Binary, err = os.Executable()
	}
	if err != nil {
		return 2, err
	}
	if o.Dir == "" {
		if o.Dir, err = os.MkdirTemp("", "runnel-torture-"); err != nil {
			return 2, err
		}
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return 2, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fmt.Printf("seed %d, history in %s\n", o.Seed, o.Dir)
	verdict, err := torture.Run(ctx, o)
	if err != nil {
		return 2, err
	}
	return tell(verdict), nil
}

// tell prints a verdict and returns the exit code.
func tell(v *torture.Verdict) int {
	fmt.Printf("seed %d: %d transactions, %d events, %d messages, %d faults, %d states of the slot\n",
		v.Seed, v.Transactions, v.Events, v.Messages, v.Faults, v.Samples)
	for _, fault := range slices.Sorted(maps.Keys(v.Takeovers)) {
		fmt.Printf("taken over after %s: %d times, within %d ms\n", fault, v.Takeovers[fault].Count, v.Takeovers[fault].Longest)
	}
	if v.OK() {
		fmt.Println("no finding")
		return 0
	}
	for _, f := range v.Findings {
		fmt.Printf("FINDING %-10s %s\n", f.Check, f.Detail)
	}
	fmt.Printf("findings by check: %v\n", v.Counts)
	return 1
}

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/runnel-cdc/runnel/internal/torture"
)

// playHuge follows one transaction that is larger than the daemon's memory.
func playHuge(args []string) (int, error) {
	o := torture.HugeOptions{Say: func(format string, args ...any) { fmt.Printf(format+"\n", args...) }}
	flags := flag.NewFlagSet("torture huge", flag.ContinueOnError)
	flags.IntVar(&o.Rows, "rows", 5_000_000, "rows of the transaction")
	flags.IntVar(&o.RowBytes, "bytes", 100, "of each payload, at most 1000000")
	flags.BoolVar(&o.Kill, "kill", false, "kill the daemon in the middle")
	flags.StringVar(&o.PGVersion, "pg", "", "Postgres' major version; default: the newest here")
	if err := flags.Parse(args); err != nil {
		return 2, err
	}
	if o.Rows < 1 || o.RowBytes < 1 || o.RowBytes > 1_000_000 {
		return 2, fmt.Errorf("%d rows of %d bytes: from 1 row, and from 1 to 1000000 bytes", o.Rows, o.RowBytes)
	}
	var err error
	if o.Binary, err = os.Executable(); err != nil {
		return 2, err
	}
	if o.Dir, err = os.MkdirTemp("", "runnel-huge-"); err != nil {
		return 2, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	res, err := torture.Huge(ctx, o)
	fmt.Printf("%d rows, %.2f GB: written in %s, published within %s; daemon's peak memory %d MiB, longest silence %s, %d walsenders\n",
		res.Rows, float64(res.Bytes)/1e9, res.Written.Round(time.Second), res.Published.Round(time.Second), res.PeakMemory>>20,
		res.Silence.Round(time.Millisecond), res.Walsenders)
	if err != nil {
		return 2, fmt.Errorf("%w (logs in %s)", err, o.Dir)
	}
	for _, f := range res.Findings {
		fmt.Println("FINDING", f)
	}
	if len(res.Findings) > 0 {
		fmt.Println("logs in", o.Dir)
		return 1, nil
	}
	fmt.Println("no finding")
	return 0, os.RemoveAll(o.Dir)
}

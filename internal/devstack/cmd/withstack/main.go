// Command withstack runs a command with a real Postgres and a real Pulsar
// beside it: `withstack [-pg 17] go test ./...`. It sets the RUNNEL_* variables
// and RUNNEL_TEST_SERVERS=required, passes signals on to the command, ends the
// servers whatever happens, and exits with the command's code. Servers whose
// addresses are in the environment are used instead. With -postgres no Pulsar
// is started.
//
// With several versions (-pg 15,16,18) the command runs once with each, all
// beside the same Pulsar, and a Postgres in the environment is not used. A
// failure does not keep it from the other versions; the exit code is the first.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/fault"
)

func main() {
	asked := flag.String("pg", "", "Postgres' major version, or several with commas; default: the newest here")
	alone := flag.Bool("postgres", false, "Postgres alone: the command starts its own Pulsar, or needs none")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: withstack [-pg VERSION[,VERSION...]] [-postgres] COMMAND [ARGUMENT...]")
		os.Exit(2)
	}
	r := runner{command: flag.Args(), signals: make(chan os.Signal, 4)}
	signal.Notify(r.signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	if versions := strings.Split(*asked, ","); len(versions) > 1 {
		os.Exit(r.each(versions))
	}
	os.Exit(r.beside(devstack.Options{Postgres: true, Pulsar: !*alone, PGVersion: *asked}.FromEnvironment(os.Getenv), r.run))
}

// runner runs one command beside servers. Its signals go to whoever runs.
type runner struct {
	command []string
	signals chan os.Signal
}

// each runs the command with every version, and returns the first code that is
// not 0.
func (r *runner) each(versions []string) int {
	pulsar := devstack.Options{Pulsar: true}.FromEnvironment(os.Getenv)
	return r.beside(pulsar, func(stack *devstack.Stack) int {
		first := 0
		var failed []string
		for _, version := range versions {
			fmt.Fprintf(os.Stderr, "\n-- Postgres %s\n", version)
			code := r.beside(devstack.Options{
				Postgres: true, PGVersion: version, PulsarURL: stack.PulsarURL, PulsarAdminURL: stack.PulsarAdminURL,
			}, r.run)
			if code > 128 {
				return code // a signal
			}
			if code != 0 {
				failed = append(failed, version)
				if first == 0 {
					first = code
				}
			}
		}
		if first != 0 {
			fmt.Fprintf(os.Stderr, "\nfailed with Postgres %s\n", strings.Join(failed, ", "))
		}
		return first
	})
}

// beside starts servers, has do run beside them, and ends them.
func (r *runner) beside(o devstack.Options, do func(*devstack.Stack) int) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	started, watching := make(chan struct{}), make(chan struct{})
	go func() { // until the servers are up, a signal ends the start
		defer close(watching)
		select {
		case sig := <-r.signals:
			cancel(interrupted{sig.(syscall.Signal)})
		case <-started:
		}
	}()
	o.Ephemeral = true
	o.Progress = func(text string) { fmt.Fprintln(os.Stderr, text) }
	stack, err := devstack.Up(ctx, o)
	close(started)
	<-watching
	if err != nil {
		return report(ctx, err)
	}
	code := 0
	if by := context.Cause(ctx); by != nil { // the signal came with the servers
		code = report(ctx, by)
	} else {
		code = do(stack)
	}
	if err := stack.Down(context.Background()); err != nil {
		return max(code, report(ctx, err))
	}
	return code
}

// interrupted is why a start was given up.
type interrupted struct{ syscall.Signal }

func (i interrupted) Error() string { return i.String() }

func report(ctx context.Context, err error) int {
	var by interrupted
	if errors.As(context.Cause(ctx), &by) {
		return 128 + int(by.Signal)
	}
	fmt.Fprintln(os.Stderr, err)
	if f := fault.Find(err); f != nil {
		fmt.Fprintln(os.Stderr, "→", f.WhatToDo())
		return int(f.Code.Class)
	}
	return 1
}

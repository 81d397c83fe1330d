package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/internal/fault"
)

// A texter is a result that can be read by people. Results without it print
// nothing as text.
type texter interface{ text(p *printer) }

// envelope is what -o json prints, once, on standard output; for `tail`, whose
// standard output is JSON lines, on standard error, and only for an error.
type envelope struct {
	Command string       `json:"command"` // without the program's name: "dev up"
	OK      bool         `json:"ok"`
	Result  any          `json:"result"` // null when there is none
	Error   *errorReport `json:"error"`  // null when OK
}

// errorReport is one error as people and machines get it.
type errorReport struct {
	Code    string         `json:"code"`
	Message string         `json:"message"`
	Path    string         `json:"path"` // path:line:col, a flag, a position; "" when there is none
	Remedy  string         `json:"remedy"`
	More    []*errorReport `json:"more,omitempty"` // found at the same time

	exit int
}

// finish prints result and error, and returns the exit code.
func (a *app) finish(ctx context.Context, cmd *cobra.Command, err error) int {
	report := a.report(ctx, err)
	var written error
	if a.output == "json" {
		written = a.printEnvelope(cmd, report)
	} else {
		if t, ok := a.result.(texter); ok {
			p := newPrinter(a, a.stdout)
			t.text(p)
			written = p.err
		}
		a.printError(report)
	}
	if written != nil && report == nil {
		report = describe(ErrOutput.Wrap(written, "standard output"))
		a.printError(report)
	}
	if report == nil {
		return 0
	}
	return report.exit
}

// report describes err, nil if there is none. A command that a signal stopped
// and that returned no error has ended well.
func (a *app) report(ctx context.Context, err error) *errorReport {
	if err == nil {
		return nil
	}
	var signal interrupted
	if errors.As(context.Cause(ctx), &signal) {
		if errors.Is(err, context.Canceled) || errors.Is(err, signal) {
			err = ErrInterrupted.New("%s", signal)
		}
		r := describe(err)
		r.exit = signal.exitCode()
		return r
	}
	return describe(err)
}

// describe turns any error into a report. Joined errors become one with more.
func describe(err error) *errorReport {
	var reports []*errorReport
	for _, e := range flatten(err) {
		reports = append(reports, describeOne(e))
	}
	first := *reports[0]
	first.More = reports[1:]
	return &first
}

func flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}

func describeOne(err error) *errorReport {
	var code *fault.Code
	e := fault.Find(err)
	switch {
	case e != nil:
		code = e.Code
	case !errors.As(err, &code):
		code = ErrFailed
	}
	r := &errorReport{Code: code.ID, Message: err.Error(), Remedy: code.Remedy, exit: int(code.Class)}
	if e == nil {
		if r.Message == code.Error() { // not wrapped
			r.Message = code.Cause
		}
		return r
	}
	r.Path, r.Remedy = e.Where, e.WhatToDo()
	bare := e.Message // without the place and the code, which have fields of their own
	if e.Err != nil {
		bare += ": " + e.Err.Error()
	}
	r.Message = strings.Replace(r.Message, e.Error(), bare, 1)
	return r
}

func (a *app) printEnvelope(cmd *cobra.Command, report *errorReport) error {
	if report == nil && (a.streaming || a.helped) {
		return nil // JSON lines, or the help, were the output
	}
	out := a.stdout
	if a.streaming {
		out = a.stderr
	}
	name := strings.TrimSpace(strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()))
	return writeJSON(out, envelope{Command: name, OK: report == nil, Result: a.result, Error: report})
}

// writeJSON writes v readably; & < > stay as they are.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// printError writes findings as `path: CODE message` and what to do.
func (a *app) printError(report *errorReport) {
	if report == nil {
		return
	}
	p := newPrinter(a, a.stderr)
	for _, r := range append([]*errorReport{report}, report.More...) {
		if r.Code == ErrInterrupted.ID {
			p.line("%s", r.Message)
			continue
		}
		if r.Path != "" {
			p.print("%s: ", clean(r.Path))
		}
		p.line("%s %s", p.paint(red, r.Code), clean(r.Message))
		p.remedy("", r.Remedy)
	}
}

// message writes one line to standard error.
func (a *app) message(format string, args ...any) {
	_, _ = fmt.Fprintf(a.stderr, format+"\n", args...) // nowhere to report it
}

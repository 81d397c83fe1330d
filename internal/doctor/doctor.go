package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/nearest"
)

// Status is the outcome of a check.
type Status string

// The outcomes. A warning is something that works now.
const (
	Pass Status = "pass"
	Warn Status = "warn"
	Fail Status = "fail"
	Skip Status = "skip"
)

// checkLimit bounds each check.
const checkLimit = 15 * time.Second

// Result is what a check found.
type Result struct {
	Name    string `json:"name"`
	Status  Status `json:"status"`
	Message string `json:"message"`
	Code    string `json:"code,omitempty"`   // of the fault; not for pass and skip
	Path    string `json:"path,omitempty"`   // where: an address, a file, a topic
	Remedy  string `json:"remedy,omitempty"` // what to do; may hold SQL to copy

	class fault.Class
	err   error
}

// Err is the fault behind a failure or warning, with its cause; else nil.
func (r Result) Err() error { return r.err }

// A Check looks at one thing.
type Check struct {
	Name  string   // stable, for --check
	About string   // one line: what is looked at
	Needs []string // checks that must have passed (or warned), else it is skipped
	// Run returns what it saw, and a fault when that is not as needed. A
	// fault wrapped by warning is only a warning; skipped skips.
	Run func(ctx context.Context, s *Session) (saw string, err error)
}

// Report is the outcome of a run.
type Report struct {
	Results []Result `json:"checks"`
}

// Failed reports whether a check failed, and as what: Environment if one of the
// environment did, Input if only what was given is wrong (a broken catalog).
func (r Report) Failed() (fault.Class, bool) {
	class, failed := fault.Input, false
	for _, x := range r.Results {
		if x.Status == Fail {
			failed = true
			if x.class != fault.Input {
				class = fault.Environment
			}
		}
	}
	return class, failed
}

// Count returns how many results have that status.
func (r Report) Count(s Status) int {
	n := 0
	for _, x := range r.Results {
		if x.Status == s {
			n++
		}
	}
	return n
}

// Checks are all checks, in the order in which they run: a check comes after
// those that it needs.
func Checks() []Check {
	return slices.Concat(postgresChecks, daemonChecks, slotChecks, failoverChecks, catalogChecks, watchedChecks, pulsarChecks, securityChecks)
}

// Run runs the named checks (none: all) with what they need, one after the
// other, and returns the results of those named. An unknown name is
// ErrCheckUnknown. When ctx ends, the remaining checks fail.
func Run(ctx context.Context, cfg *config.Config, names ...string) (Report, error) {
	all := Checks()
	wanted, err := closure(all, names)
	if err != nil {
		return Report{}, err
	}
	s := &Session{cfg: cfg}
	defer s.close()
	status := map[string]Status{}
	var report Report
	for _, c := range all {
		if !wanted[c.Name] {
			continue
		}
		result := runOne(ctx, s, c, status)
		status[c.Name] = result.Status
		if len(names) == 0 || slices.Contains(names, c.Name) {
			report.Results = append(report.Results, result)
		} else if result.Status == Fail { // the reason why a named one is skipped
			report.Results = append(report.Results, result)
		}
	}
	return report, nil
}

// closure returns the named checks and all that they need.
func closure(all []Check, names []string) (map[string]bool, error) {
	known := make([]string, len(all))
	byName := map[string]Check{}
	for i, c := range all {
		known[i], byName[c.Name] = c.Name, c
	}
	if len(names) == 0 {
		names = known
	}
	wanted := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		if !wanted[name] {
			wanted[name] = true
			for _, n := range byName[name].Needs {
				add(n)
			}
		}
	}
	for _, name := range names {
		if _, ok := byName[name]; !ok {
			e := ErrCheckUnknown.New("there is no check %.60q", name)
			if near := nearest.Of(name, known); near != "" {
				return nil, e.Fix("Did you mean %s?", near)
			}
			return nil, e.Fix("Choose among: %s.", strings.Join(known, ", "))
		}
		add(name)
	}
	return wanted, nil
}

func runOne(ctx context.Context, s *Session, c Check, status map[string]Status) Result {
	r := Result{Name: c.Name}
	for _, need := range c.Needs {
		if got := status[need]; got == Fail || got == Skip {
			r.Status, r.Message = Skip, "needs "+need
			return r
		}
	}
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	saw, err := c.Run(ctx, s)
	var skip skipped
	var warn warning
	switch {
	case err == nil:
		r.Status, r.Message = Pass, saw
		return r
	case errors.As(err, &skip):
		r.Status, r.Message = Skip, skip.reason
		return r
	case errors.As(err, &warn):
		r.Status, err = Warn, warn.err
	default:
		r.Status = Fail
	}
	describe(&r, err)
	return r
}

// describe fills in a result from the fault in err.
func describe(r *Result, err error) {
	r.Message, r.Code, r.class, r.err = err.Error(), ErrCheck.ID, ErrCheck.Class, err
	if e := fault.Find(err); e != nil {
		r.Message = e.Message
		if e.Err != nil {
			r.Message += ": " + e.Err.Error()
		}
		r.Code, r.Path, r.Remedy, r.class = e.Code.ID, e.Where, e.WhatToDo(), e.Code.Class
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok && len(joined.Unwrap()) > 1 {
		r.Message += fmt.Sprintf(" (and %d more)", len(joined.Unwrap())-1)
	}
}

// skipped is the error of a check that does not apply.
type skipped struct{ reason string }

func (s skipped) Error() string { return s.reason }

// warning is a fault that does no harm yet.
type warning struct{ err error }

func (w warning) Error() string { return w.err.Error() }
func (w warning) Unwrap() error { return w.err }

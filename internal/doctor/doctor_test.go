package doctor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A check comes after those that it needs, and all are described.
func TestOrderOfChecks(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Checks() {
		for _, need := range c.Needs {
			if !seen[need] {
				t.Errorf("%s needs %s, which does not come before it", c.Name, need)
			}
		}
		if seen[c.Name] || c.About == "" || c.Run == nil {
			t.Errorf("%s is twice there, or not described", c.Name)
		}
		seen[c.Name] = true
	}
}

func TestClosure(t *testing.T) {
	wanted, err := closure(Checks(), []string{"slot"})
	if err != nil || !wanted["postgres"] || !wanted["outbox"] || !wanted["slot"] || wanted["pulsar"] {
		t.Errorf("%v, %v", wanted, err)
	}
	_, err = Run(t.Context(), &config.Config{}, "slto")
	if e := fault.Find(err); e == nil || e.Code != ErrCheckUnknown || e.WhatToDo() != "Did you mean slot?" {
		t.Errorf("%v", err)
	}
	_, err = Run(t.Context(), &config.Config{}, "something-else")
	if e := fault.Find(err); e == nil || !strings.Contains(e.WhatToDo(), "wal-level") {
		t.Errorf("%v", err)
	}
}

func TestOutcomes(t *testing.T) {
	status := map[string]Status{"broken": Fail, "skipped": Skip, "warned": Warn, "passed": Pass}
	check := func(err error, needs ...string) Result {
		return runOne(t.Context(), &Session{}, Check{Name: "x", Needs: needs, Run: func(context.Context, *Session) (string, error) {
			return "saw", err
		}}, status)
	}
	for name, tc := range map[string]struct {
		got  Result
		want Status
		code string
	}{
		"pass":         {check(nil, "passed", "warned"), Pass, ""},
		"needs broken": {check(nil, "broken"), Skip, ""},
		"needs skip":   {check(nil, "skipped"), Skip, ""},
		"skip":         {check(skipped{"why"}), Skip, ""},
		"warn":         {check(warning{ErrSlotIdle.New("idle")}), Warn, "SLOT_IDLE"},
		"fail":         {check(capture.ErrGrant.New("no")), Fail, "PG_GRANT"},
		"plain":        {check(errors.New("odd")), Fail, "CHECK_FAILED"},
		"joined":       {check(errors.Join(ErrSlotIdle.New("one"), ErrCheck.New("two"))), Fail, "SLOT_IDLE"},
	} {
		if tc.got.Status != tc.want || tc.got.Code != tc.code {
			t.Errorf("%s: %+v", name, tc.got)
		}
	}
	if r := check(errors.Join(ErrSlotIdle.New("one"), ErrCheck.New("two"))); !strings.HasSuffix(r.Message, "(and 1 more)") {
		t.Errorf("%q", r.Message)
	}
}

func TestFailed(t *testing.T) {
	input := Result{Status: Fail, class: fault.Input}
	environment := Result{Status: Fail, class: fault.Environment}
	for _, tc := range []struct {
		results []Result
		class   fault.Class
		failed  bool
	}{
		{[]Result{{Status: Warn}, {Status: Pass}}, fault.Input, false},
		{[]Result{input, {Status: Pass}}, fault.Input, true},
		{[]Result{input, environment}, fault.Environment, true},
	} {
		if class, failed := (Report{tc.results}).Failed(); failed != tc.failed || failed && class != tc.class {
			t.Errorf("%+v: %v, %v", tc.results, class, failed)
		}
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0B", 1023: "1023B", 1 << 20: "1MiB", 1500 << 10: "1.5MiB", 10 << 30: "10GiB"} {
		if got := FormatBytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestFormatAgeAndCount(t *testing.T) {
	now := time.Now()
	for ago, want := range map[time.Duration]string{-time.Hour: "0s", 59 * time.Second: "59s", 61 * time.Minute: "1h1m", 49 * time.Hour: "2d1h"} {
		if got := FormatAge(now.Add(-ago)); got != want {
			t.Errorf("%v: %s, want %s", ago, got, want)
		}
	}
	if got := Count(0, "check") + Count(1, "check") + Count(2, "check"); got != "0 checks1 check2 checks" {
		t.Error(got)
	}
}

// find returns the result of a check.
func find(t *testing.T, r Report, name string) Result {
	t.Helper()
	i := slices.IndexFunc(r.Results, func(x Result) bool { return x.Name == name })
	if i < 0 {
		t.Fatalf("no result of %s in %+v", name, r.Results)
	}
	return r.Results[i]
}

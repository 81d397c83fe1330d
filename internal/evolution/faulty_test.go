package evolution

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/schemas"
)

// faulty is a cluster whose registry answers what a test wants.
type faulty struct {
	*broker.Pulsar
	answer func(request *http.Request, real http.RoundTripper) (*http.Response, error)
}

func (f *faulty) HTTP() *http.Client { return &http.Client{Transport: f} }

// RoundTrip implements http.RoundTripper.
func (f *faulty) RoundTrip(r *http.Request) (*http.Response, error) {
	return f.answer(r, f.Pulsar.HTTP().Transport)
}

// instead answers requests of a method without asking.
func instead(method string, status int, body string) func(*http.Request, http.RoundTripper) (*http.Response, error) {
	return func(r *http.Request, real http.RoundTripper) (*http.Response, error) {
		if r.Method != method {
			return real.RoundTrip(r)
		}
		return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}, Request: r}, nil
	}
}

var errCutOff = errors.New("connection reset")

// TestRegistryFails: whatever the registry does, the error says what to do, and the same
// plan is gone on with afterwards: also where the registration was done and its answer
// was lost.
func TestRegistryFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := catalog(t, record("A", id))
	if err := w.apply(first, w.plan(first).Hash(), -1); err != nil {
		t.Fatal(err)
	}
	second := catalog(t, record("A", id+","+coupon), record("B", id))
	hash := w.plan(second).Hash()
	steps, err := Begin(t.Context(), w.db, hash, w.plan(second))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		answer func(*http.Request, http.RoundTripper) (*http.Response, error)
		code   *fault.Code
	}{
		"incompatible":     {instead(http.MethodPost, 409, "<html>both schemas</html>"), schemas.ErrRegistryRefused},
		"unparsable":       {instead(http.MethodPost, 422, "<html>"), schemas.ErrRegistryRefused},
		"broken":           {instead(http.MethodPost, 500, "stack trace"), schemas.ErrRegistryUnreachable},
		"half an answer":   {instead(http.MethodPost, 200, `{"version":{"ver`), schemas.ErrRegistryUnreachable},
		"half the history": {instead(http.MethodGet, 200, `{"getSchemaResponses":[{"version":0,"ty`), schemas.ErrRegistryUnreachable},
		"forbidden":        {instead(http.MethodPost, 401, ""), schemas.ErrRegistryForbidden},
		"unreachable":      {func(*http.Request, http.RoundTripper) (*http.Response, error) { return nil, errCutOff }, schemas.ErrRegistryUnreachable},
	} {
		a := Applier{Cluster: &faulty{w.client, tc.answer}, DB: w.db, Target: w.target}
		if err := a.Apply(t.Context(), steps); !errors.Is(err, tc.code) || fault.Find(err).WhatToDo() == "" {
			t.Errorf("%s: %v, want %s", name, err, tc.code.ID)
		}
	}
	if left := w.plan(second); left.Hash() != hash {
		t.Fatalf("something was changed: %v are left", left.Steps)
	}

	lost := &faulty{w.client, func(r *http.Request, real http.RoundTripper) (*http.Response, error) {
		response, err := real.RoundTrip(r)
		if r.Method == http.MethodPost && err == nil {
			err = errors.Join(errCutOff, response.Body.Close())
			response = nil
		}
		return response, err
	}}
	a := Applier{Cluster: lost, DB: w.db, Target: w.target}
	if err := a.Apply(t.Context(), steps); !errors.Is(err, schemas.ErrRegistryUnreachable) {
		t.Fatalf("the answer is lost: %v", err)
	}
	if left := w.plan(second); len(left.Steps) != 1 || left.Steps[0].Kind != RegisterTypes {
		t.Fatalf("left after the lost answer: %v", left.Steps)
	}
	if err := w.apply(second, hash, -1); err != nil {
		t.Fatal(err)
	}
	if left := w.plan(second); len(left.Steps) != 0 {
		t.Errorf("left in the end: %v", left.Steps)
	}
}

package schemas

import (
	"os"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/fault"
)

func mustParse(t testing.TB, text string) *Schema {
	t.Helper()
	s, err := Parse([]byte(text), "test.avsc")
	if err != nil {
		t.Fatalf("parsing %s: %v", text, err)
	}
	return s
}

func sampleCatalog(t testing.TB) *Catalog {
	t.Helper()
	c, err := Load(os.DirFS("testdata"), "catalog")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sampleEvent(t testing.TB, name string) *EventType {
	t.Helper()
	e, ok := sampleCatalog(t).Event(name)
	if !ok {
		t.Fatalf("no event %s", name)
	}
	return e
}

// eventsOf returns the catalog's events of an aggregate.
func eventsOf(c *Catalog, aggregate string) []*EventType {
	var out []*EventType
	for _, e := range c.Events() {
		if e.AggregateType == aggregate {
			out = append(out, e)
		}
	}
	return out
}

// wantFault checks an error's code and that its text holds the parts.
func wantFault(t testing.TB, err error, code *fault.Code, parts ...string) {
	t.Helper()
	f := fault.Find(err)
	if f == nil || f.Code != code {
		t.Fatalf("got %v, want %s", err, code.ID)
	}
	if f.WhatToDo() == "" {
		t.Errorf("%s has no remedy", code.ID)
	}
	for _, part := range parts {
		if text := err.Error() + "\n" + f.Remedy; !strings.Contains(text, part) {
			t.Errorf("the error %q does not say %q", text, part)
		}
	}
}

const placedJSON = `{"tags":{"source":"spring campaign"},"order_id":"0190163d-8694-739b-aea5-966c26f8ad91","note":"leave it with the neighbour, please",
 "total":{"amount":"129.90","currency":"EUR"},"lines":[{"sku":"A-1","quantity":2,"price":{"amount":49.95}},{"sku":"B-2","price":{"amount":30}}],
 "channel":"STORE","customer":{"id":4711,"name":"Grace Hopper","email":"grace@example.org"},"placed_at":"2024-05-06T07:08:09.123456+02:00","priority":true}`

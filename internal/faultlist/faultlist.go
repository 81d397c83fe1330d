// Package faultlist lists every fault code of the tree, and its test holds them
// to one style. The rules: an ID says one thing and is never reused; a Cause is
// a sentence; a Remedy is one or more sentences, and may end in copyable SQL.
//
// Some faults are told apart on purpose, though they sound alike:
//
//   - PUBLISH_TOO_LARGE refuses a service's call before its transaction holds
//     the event; EVENT_TOO_LARGE halts the pipeline at a row that is there;
//     MESSAGE_TOO_LARGE is the broker's own refusal.
//   - PG_GRANT is about the daemon's role, OUTBOX_FORBIDDEN about a service's.
//   - EVENT_NOT_REGISTERED is about a topic's schemas, EVENT_TYPE_UNKNOWN about
//     a row, EVENT_TYPE_NOT_IN_CATALOG about a name that a person typed.
//   - TOPIC_HOLE is a partition that contradicts itself; REPLAY_MISMATCH one that
//     contradicts the outbox.
package faultlist

import (
	"cmp"
	"slices"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/catalogfile"
	"github.com/runnel-cdc/runnel/internal/cli"
	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/demo"
	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/doctor"
	"github.com/runnel-cdc/runnel/internal/evolution"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/gitcatalog"
	"github.com/runnel-cdc/runnel/internal/history"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/walwatch"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/router"
	"github.com/runnel-cdc/runnel/schemas"
	"github.com/runnel-cdc/runnel/schemas/avro"
	"github.com/runnel-cdc/runnel/schemas/gen"
	"github.com/runnel-cdc/runnel/schemas/lint"
)

// Area is a part of the product, as its users see it.
type Area struct {
	Title string
	Codes []*fault.Code
}

// Areas returns the codes by area. One that packages share is where it came
// first.
func Areas() []Area {
	areas := []Area{
		{"Writing events (package outbox)", outbox.Faults},
		{"Schemas and catalog", slices.Concat(schemas.Faults, avro.Faults, evolution.Faults, gitcatalog.Faults, catalogfile.Faults, lint.Faults)},
		{"Generated code", gen.Faults},
		{"Reading Postgres (capture)", slices.Concat(capture.Faults, walwatch.Faults)},
		{"Routing and publishing (the pipeline)", slices.Concat(router.Faults, pipeline.Faults, history.Faults)},
		{"Pulsar", broker.Faults},
		{"Local copies (package consumers)", consumers.Faults},
		{"Configuration", config.Faults},
		{"Doctor", doctor.Faults},
		{"Command line", cli.Faults},
		{"Local servers and demo", slices.Concat(devstack.Faults, demo.Faults)},
	}
	seen := make(map[*fault.Code]bool)
	for i := range areas {
		var own []*fault.Code
		for _, c := range areas[i].Codes {
			if !seen[c] {
				own = append(own, c)
			}
			seen[c] = true
		}
		areas[i].Codes = own
	}
	return areas
}

// All returns the codes of all packages, sorted by ID.
func All() []*fault.Code {
	var all []*fault.Code
	for _, a := range Areas() {
		all = append(all, a.Codes...)
	}
	slices.SortFunc(all, func(a, b *fault.Code) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

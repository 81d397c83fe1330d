package evolvetest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/child"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/readerstest/programs"
)

// With the level BACKWARD_TRANSITIVE for the events of the third release, nobody is kept
// working by the level who was built before; those who are connected still are.
const weaker = `events:
  OrderShipped: {compatibility: BACKWARD_TRANSITIVE}
  OrderReturned: {compatibility: BACKWARD_TRANSITIVE}
  OrderCancelled: {compatibility: BACKWARD_TRANSITIVE}
`

// refusals requires that each change of the third release is refused, by plan and apply,
// and that it names who reads: Go projections that handle the event, and whoever does not
// tell what it reads. Those that do not handle it are not named.
func (w *world) refusals() {
	w.t.Helper()
	tail, err := child.Start(w.command(w.t.Context(), w.daemonURL, "tail", "--follow", "--topic", "order"), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer tail.Kill()
	silent := []string{"orders-java (", "orders-python (", "typed-java (", "typed-java-by-hand (", "typed-python ("}
	for _, test := range []struct {
		change change
		rule   string
		names  []string
		others []string
	}{
		{renamed, "FIELD_WITHOUT_DEFAULT", []string{"fulfilment (", "desk ("}, nil},
		{widened, "TYPE_MISMATCH", []string{"desk ("}, []string{"fulfilment ("}},
		{required, "FIELD_WITHOUT_DEFAULT", []string{"fulfilment (", "desk ("}, nil},
	} {
		w.put(newCatalog)
		w.edit(test.change)
		for _, level := range []string{"", weaker} {
			w.say(level)
			rule := test.rule
			if level != "" {
				rule = "READER_OF_OLD_VERSION"
			}
			refused := w.schemas(2, "plan")
			var readers []string
			for _, r := range refused.Result.Readers {
				readers = append(readers, fmt.Sprintf("%s %d", r.Subscription, r.Connected))
			}
			// Not who only looks on.
			if want := []string{"desk 1", "fulfilment 1", "typed-java 1", "typed-java-by-hand 1", "typed-python 1", "orders-java 1", "orders-python 1"}; !slices.Equal(readers, want) {
				w.t.Errorf("the readers are %q, want %q", readers, want)
			}
			text := ""
			for _, f := range refused.Result.Findings {
				if f.Rule == rule && f.Severity == "error" {
					text += f.Message + "\n"
				}
			}
			for _, name := range slices.Concat(test.names, silent) {
				if !strings.Contains(text, name) {
					w.t.Errorf("%s of %s does not name %q:\n%s", rule, test.change.file, name, text)
				}
			}
			for _, name := range test.others {
				if strings.Contains(text, name) {
					w.t.Errorf("%s of %s names %q:\n%s", rule, test.change.file, name, text)
				}
			}
			if strings.Count(text, "does not tell what it reads") < len(silent) || refused.Error.Code != "SCHEMA_CHANGE_REFUSED" {
				w.t.Errorf("%s: %+v\n%s", test.change.file, refused.Error, text)
			}
			if refused.Result.Hash != "" {
				w.t.Errorf("what cannot be applied has the hash %s", refused.Result.Hash)
			}
			if e := w.schemas(2, "apply", "--plan", "0123"); e.Error.Code != "SCHEMA_CHANGE_REFUSED" {
				w.t.Errorf("applied all the same: %+v", e.Error)
			}
		}
	}
	// Who does not tell, and can take the change, is let through by name.
	waivers := "waivers:\n"
	for _, name := range silent {
		waivers += fmt.Sprintf("  - {event: OrderCancelled, rule: READER_OF_OLD_VERSION, consumer: %s, reason: it asks for no reason, owner: orders, expires: 2999-12-31}\n",
			strings.TrimSuffix(name, " ("))
	}
	w.say(weaker + waivers)
	named := 0
	for _, f := range w.schemas(2, "plan").Result.Findings {
		if f.Severity == "error" {
			named++
			if !strings.Contains(f.Message, "desk (") && !strings.Contains(f.Message, "fulfilment (") {
				w.t.Errorf("in the way in spite of waivers: %s", f.Message)
			}
		}
	}
	if named != 2 {
		w.t.Errorf("%d findings are in the way, want those of two projections", named)
	}
	if !tail.Alive() {
		w.t.Errorf("runnel tail ended: %v", tail.Err())
	}
	w.put(newCatalog)
	w.nothingLeft()
}

// connected waits until all who read the topic are connected.
func (w *world) connected(names ...string) {
	w.t.Helper()
	var missing []string
	pgtest.Eventually(w.t, patience, func() bool {
		all, err := w.client.Subscriptions(w.t.Context(), w.topic())
		missing = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
			return slices.ContainsFunc(all, func(s broker.Subscription) bool { return s.Name == name && len(s.Consumers) > 0 })
		})
		return err == nil && len(missing) == 0
	}, func() string { return fmt.Sprintf("all are connected; %q are not", missing) })
}

// thirdRelease applies what was refused, with a weaker level, when the readers are those
// of the third release: while one old reader's subscription is left, nothing is applied.
func (w *world) thirdRelease(old []*copied, typedReaders []*typed) {
	w.t.Helper()
	newest := w.project("third", third)
	for _, c := range old {
		c.stop()
	}
	for _, r := range typedReaders {
		w.unsubscribe(r.name)
	}
	for _, c := range old[1:] {
		w.unsubscribe(c.name)
	}
	w.put(newCatalog)
	w.edit(renamed, widened, required)
	w.say(weaker)
	left := w.schemas(2, "plan")
	for _, f := range left.Result.Findings {
		if f.Rule == "READER_OF_OLD_VERSION" && !strings.Contains(f.Message, old[0].name+" (not connected, backlog ") {
			w.t.Errorf("found %s %s", f.Rule, f.Message)
		}
	}
	w.unsubscribe(old[0].name)
	w.apply()
	w.exec("alter table orders add column parcels bigint not null default 1")
	if err := publishThird(w.t.Context(), w.service); err != nil {
		w.t.Fatal(err)
	}
	newest.passes(w.t, w.committed())
	columns := "id, status, carrier, case status when 'returned' then parcels end"
	programs.Compare(w.t, newest.name, rows(w.t, newest.pool, "third.orders", columns), rows(w.t, w.service, "public.orders", columns))
}

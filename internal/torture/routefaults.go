package torture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/history"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/router"
	"github.com/runnel-cdc/runnel/schemas"
)

// groupRoutes are changes of the routes. With one of them every topic takes every event.
const groupRoutes = "routes"

func routeFaults() []fault {
	return []fault{
		{name: "routes.change", expect: resumes, group: groupRoutes, carryOut: func(r *runner, ctx context.Context, rec *FaultRecord) error {
			return r.reroute(ctx, rec, func() error { return nil })
		}},
		{name: "routes.crash", expect: resumes, group: groupRoutes, carryOut: func(r *runner, ctx context.Context, rec *FaultRecord) error {
			return r.reroute(ctx, rec, func() error { return r.stack.RestartPostgres(ctx) }) // the slot goes back
		}},
		{name: "routes.killed", expect: resumes, group: groupRoutes, carryOut: (*runner).killRerouting},
		{name: "routes.paused", expect: resumes, group: groupRoutes, carryOut: (*runner).pauseAndReroute},
	}
}

// choices are where the events that have a route may go.
var choices = map[string][]string{closed: {"closings", "account", "parcel"}, sent: {"parcel", "closings"}}

// drawRoutes draws others than there are.
func (r *runner) drawRoutes(rec *FaultRecord) {
	was := r.routes
	for slices.Equal(r.routes, was) {
		r.routes = nil
		for _, event := range []string{closed, sent} {
			r.routes = append(r.routes, router.RouteRule{Type: event, Topic: choices[event][r.rand.IntN(len(choices[event]))]})
		}
	}
	rec.Note += fmt.Sprintf(" routes %s, %s;", r.routes[0].Topic, r.routes[1].Topic)
}

// reroute kills the daemon, lets something happen, and starts one with other routes.
func (r *runner) reroute(ctx context.Context, rec *FaultRecord, amid func() error) error {
	err := r.trigger(ctx, rec, func() error {
		r.daemon.Kill()
		return amid()
	})
	if err != nil {
		return err
	}
	r.drawRoutes(rec)
	return r.startDaemon(ctx, "")
}

// killRerouting kills the one that changes the routes, before or after they are recorded;
// the next has these routes, or others again.
func (r *runner) killRerouting(ctx context.Context, rec *FaultRecord) error {
	if err := r.trigger(ctx, rec, func() error { r.daemon.Kill(); return nil }); err != nil {
		return err
	}
	r.drawRoutes(rec)
	rule := []string{"pipeline.routes", "pipeline.routed"}[r.rand.IntN(2)] + ":1:kill"
	if err := r.startDaemon(ctx, rule); err != nil {
		return err
	}
	if _, err := r.daemon.awaitRule(ctx, rule, r.o.Patience); err != nil {
		return err
	}
	if err := r.daemon.gone(ctx, r.o.Patience); err != nil {
		return err
	}
	rec.Note += " killed at " + rule + ";"
	if r.rand.IntN(2) == 0 {
		r.drawRoutes(rec)
	}
	return r.startDaemon(ctx, "")
}

// pauseAndReroute stops the daemon until its connections were dropped, lets one with other
// routes publish, and the first go on amid that, by the routes that it has. Then the other
// dies, and the first changes the routes back.
func (r *runner) pauseAndReroute(ctx context.Context, rec *FaultRecord) error {
	paused, were := r.daemon, r.routes
	r.drawRoutes(rec)
	successor, err := r.standby(ctx, publishes)
	if err != nil {
		return err
	}
	defer successor.Kill()
	rec.Rule = fmt.Sprintf("pipeline.sent:%d:stop", 1+r.rand.IntN(300))
	if err := paused.arm(rec.Rule); err != nil {
		return err
	}
	// In a run that has to acquire every partition still: its walsender is ended.
	if err := r.endWalsender(ctx); err != nil {
		return err
	}
	run := paused.status(ctx).Run
	report, err := r.stopsItself(ctx, rec, paused)
	if err != nil {
		return err
	}
	defer paused.Signal(syscall.SIGCONT)
	if err := r.fired(ctx, rec, report.Hits); err != nil {
		return err
	}
	if _, err := successor.awaitRule(ctx, publishes, r.o.Patience); err != nil {
		return err
	}
	paused.Signal(syscall.SIGCONT)
	successor.Kill()
	r.routes = were
	return await(ctx, r.o.Patience, func(ctx context.Context) bool {
		now := paused.status(ctx)
		return now.State == pipeline.Streaming && now.Run > run
	})
}

// openTopics lets every topic take every event.
func (r *runner) openTopics(ctx context.Context) error {
	client, err := broker.Dial(ctx, broker.Config{URL: r.stack.PulsarURL, AdminURL: r.stack.PulsarAdminURL, Name: "torture"})
	if err != nil {
		return err
	}
	defer client.Close()
	registry := schemas.NewRegistry(client.AdminURL(), client.HTTP())
	for _, local := range sortedTopics() {
		full := wire.TopicName(namespace, local)
		versions, err := registry.Versions(ctx, full)
		if err != nil {
			return err
		}
		all, err := schemas.Compose(local, events(), versions[len(versions)-1])
		if err != nil {
			return err
		}
		if _, err := registry.Register(ctx, full, all); err != nil {
			return err
		}
	}
	return nil
}

// routing reads the generations of the routes.
func (r *runner) routing(ctx context.Context) (out []Routing, err error) {
	text, err := value[string](ctx, r.source, `select routing::text from runnel.pipeline where name = $1`, pipelineName)
	if err != nil {
		return nil, err
	}
	all, err := history.ParseRouting([]byte(text))
	if err != nil {
		return nil, err
	}
	for _, g := range all {
		to := make(map[string]string)
		for _, e := range events() {
			to[e.Name] = e.AggregateType
			for _, route := range slices.Backward(g.Routes) {
				if route.Type == e.Name {
					to[e.Name] = route.Topic
				}
			}
		}
		after, err := g.Begin()
		if err != nil {
			return nil, err
		}
		out = append(out, Routing{after.String(), to})
	}
	if len(out) == 0 {
		return nil, errors.New("the pipeline has no record of its routes")
	}
	return out, nil
}

// topicAt names the topic of an event: by the generation of routes in force there. The
// text of positions sorts as they do.
func (j *judge) topicAt(event string, at position.Position) string {
	if len(j.Run.Routing) == 0 {
		return j.Run.Topics[event]
	}
	return j.Run.Routing[j.generation(at)].Topics[event]
}

func (j *judge) generation(at position.Position) int {
	text := at.String()
	i, _ := slices.BinarySearchFunc(j.Run.Routing, text, func(g Routing, text string) int { return cmp.Compare(g.After, text) })
	return max(i-1, 0)
}

// rerouted requires that nothing was sent by one generation of routes before all that
// belongs to those before it was. A message carries the time of its producer, in
// milliseconds; one that was sent again after a crash the later time.
func (j *judge) rerouted() {
	n := len(j.Run.Routing)
	if n < 2 {
		return
	}
	first, last := make([]int64, n), make([]int64, n)
	for i := range j.Topic {
		stamp, err := position.ParseStamp(j.Topic[i].Position)
		if err != nil {
			continue // told elsewhere
		}
		g, at := j.generation(stamp.Position), j.Topic[i].Published
		if first[g] == 0 || at < first[g] {
			first[g] = at
		}
		last[g] = max(last[g], at)
	}
	for g, latest := 1, last[0]; g < n; g++ {
		if first[g] > 0 && first[g] < latest {
			j.v.add(CheckOrder, "generation %d of routes sent an event %d ms before one of those before it", g+1, (latest-first[g])/1000)
		}
		latest = max(latest, last[g])
	}
}

package torture

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/deadletter"
	"github.com/runnel-cdc/runnel/internal/pipeline"
)

// groupPoison are the faults of events that cannot be published. With one of them the
// daemons park.
const groupPoison = "poison"

func poisonFaults() []fault {
	park := func(name string, amid func(*runner, context.Context, *FaultRecord) error) fault {
		return fault{name: groupPoison + "." + name, expect: resumes, group: groupPoison, carryOut: func(r *runner, ctx context.Context, rec *FaultRecord) error {
			return r.poisoned(ctx, rec, amid)
		}}
	}
	return []fault{
		park("size", func(*runner, context.Context, *FaultRecord) error { return nil }),
		park("killed", (*runner).killWhileParking),
		park("crash", func(r *runner, ctx context.Context, _ *FaultRecord) error { return r.stack.RestartPostgres(ctx) }),
	}
}

// poisoned makes a topic's events too large for it, so that the daemon parks them, and lets
// something happen amid that. Then the topic takes them again, and somebody retries them.
func (r *runner) poisoned(ctx context.Context, rec *FaultRecord, amid func(*runner, context.Context, *FaultRecord) error) error {
	path := topicPath("account") + "/maxMessageSize"
	if err := r.trigger(ctx, rec, func() error { return r.admin(ctx, http.MethodPost, path, 300) }); err != nil {
		return err
	}
	err := r.parks(ctx, 100+r.rand.IntN(400))
	if err == nil {
		err = amid(r, ctx, rec)
	}
	if err == nil {
		err = r.parks(ctx, 600)
	}
	return errors.Join(err, r.admin(ctx, http.MethodDelete, path, nil), r.retryParked(ctx, rec, strings.HasSuffix(rec.Fault, ".killed")))
}

// parks waits until the daemon has parked so many events.
func (r *runner) parks(ctx context.Context, n int) error {
	var st pipeline.Status
	err := await(ctx, 2*r.o.Patience, func(ctx context.Context) bool {
		st = r.daemon.status(ctx)
		return st.Parked != nil && st.Parked.Events >= n
	})
	if err != nil {
		return fmt.Errorf("waiting for %d parked events, state %s %s %s: %w", n, st.State, st.Code, st.Message, err)
	}
	return nil
}

// killWhileParking kills the daemon at some step, and starts another.
func (r *runner) killWhileParking(ctx context.Context, rec *FaultRecord) error {
	points := []string{"pipeline.send", "pipeline.sent", "pipeline.acked", "capture.row", "capture.confirmed"}
	most := []int{100, 100, 40, 100, 3}
	i := r.rand.IntN(len(points))
	rec.Rule = r.killRule(points[i], most[i])
	if err := r.daemon.arm(rec.Rule); err != nil {
		return err
	}
	if err := r.killsItself(ctx, rec, r.daemon); err != nil {
		return err
	}
	return r.startDaemon(ctx, "")
}

// retryParked retries until nothing is parked. With dies, the daemon dies amid it. The writers
// go on for two rounds; then they rest, as no aggregate of theirs ever does by itself.
func (r *runner) retryParked(ctx context.Context, rec *FaultRecord, dies bool) error {
	client, err := broker.Dial(ctx, broker.Config{URL: r.stack.PulsarURL, AdminURL: r.stack.PulsarAdminURL, Name: "operator"})
	if err != nil {
		return err
	}
	defer client.Close()
	if dies {
		if err := r.daemon.arm(r.killRule("pipeline.sent", 300)); err != nil {
			return err
		}
	}
	rounds, events := 0, 0
	defer r.load.held.Store(false)
	err = await(ctx, 4*r.o.Patience, func(ctx context.Context) bool {
		if !r.daemon.Alive() {
			if err := r.startDaemon(ctx, ""); err != nil {
				return false
			}
		}
		wait := r.o.Patience
		if dies && rounds == 0 {
			wait = 5 * time.Second // nobody is there
		}
		done, err := r.retryOnce(ctx, client, rounds == 1, wait)
		events += done.Events
		rounds++
		r.load.held.Store(rounds >= 2)
		left, lerr := pipeline.ParkedEvents(ctx, client, namespace, pipelineName)
		r.say("retried %d, %d are parked: %v", done.Events, len(left), errors.Join(err, lerr))
		return lerr == nil && len(left) == 0 && r.daemon.Alive()
	})
	rec.Note += fmt.Sprintf(" %d rows of retries in %d rounds", events, rounds)
	return err
}

func (r *runner) retryOnce(ctx context.Context, client *broker.Pulsar, exclusive bool, wait time.Duration) (pipeline.Released, error) {
	db, err := pgx.Connect(ctx, r.source)
	if err != nil {
		return pipeline.Released{}, err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	return pipeline.Release{Namespace: namespace, Pipeline: pipelineName, Slot: slotName, Client: client, DB: db,
		Match: func(*deadletter.Letter) bool { return true }, Wait: wait, Exclusive: exclusive}.Run(ctx)
}

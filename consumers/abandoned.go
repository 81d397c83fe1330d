package consumers

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/broker"
)

// A copy that was replaced, or is dropped, leaves its subscription behind, whose
// backlog would grow for ever: where a quota bounds it, the publisher would be
// stopped. Whoever drops the copy may have no access to the broker, so it leaves a
// row, and an instance of the projection that runs deletes the subscription.

const abandonedDDL = `
create table runnel_projections.abandoned (
	projection   text    not null,
	version      integer not null,
	topic        text    not null,
	subscription text    not null,
	primary key (projection, version, topic)
);
comment on table runnel_projections.abandoned is 'Subscriptions of copies that were replaced or dropped, to be deleted by an instance that runs.';`

// Pauses between looks for abandoned subscriptions.
const (
	abandonedEvery = time.Minute
	abandonedAgain = 5 * time.Second // after one that still has a consumer
)

// abandon notes, in the transaction that replaces or removes a version, which subscriptions it
// leaves.
func abandon(ctx context.Context, tx pgx.Tx, projection string, version int) error {
	_, err := tx.Exec(ctx, `insert into runnel_projections.abandoned (projection, version, topic, subscription)
		select projection, version, topic, $3 from runnel_projections.topic where projection = $1 and version = $2
		union select projection, version, topic, $3 from runnel_projections.position where projection = $1 and version = $2
		on conflict do nothing`, projection, version, subscriptionOf(projection, version))
	return err
}

// adopt takes back the note for a version that is made again.
func (p *Projection) adopt(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, "delete from runnel_projections.abandoned where projection = $1 and version = $2", p.cfg.Name, p.cfg.Version)
	return err
}

// sweep deletes subscriptions that earlier copies left, if it is time: the work of
// each topic's first partition. What fails is tried again; nothing depends on it.
func (w *worker) sweep(ctx context.Context) {
	if w.partition.Index != 0 || w.p.now().Before(w.sweepAt) || ctx.Err() != nil {
		return
	}
	left, err := w.p.deleteAbandoned(ctx, w.client)
	if ctx.Err() != nil {
		return
	}
	w.sweepAt = w.p.now().Add(abandonedEvery)
	if left > 0 {
		w.sweepAt = w.p.now().Add(abandonedAgain)
	}
	if err != nil && w.sweepErr == nil {
		w.log.Warn("deleting the subscription of an earlier copy failed, trying again", keyError, err)
	}
	w.sweepErr = err
}

// deleteAbandoned returns how many subscriptions are left, and why.
func (p *Projection) deleteAbandoned(ctx context.Context, client broker.Client) (left int, err error) {
	rows, err := p.db.Query(ctx, "select version, topic, subscription from runnel_projections.abandoned where projection = $1", p.cfg.Name)
	if err != nil {
		return 0, err
	}
	type abandoned struct {
		Version             int
		Topic, Subscription string
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[abandoned])
	if err != nil {
		return 0, err
	}
	for _, a := range all {
		one := client.DeleteSubscription(ctx, a.Topic, a.Subscription)
		if one == nil {
			_, one = p.db.Exec(ctx, "delete from runnel_projections.abandoned where projection = $1 and version = $2 and topic = $3",
				p.cfg.Name, a.Version, a.Topic)
		}
		switch {
		case errors.Is(one, broker.ErrAdmin): // it has consumers
			left, err = left+1, one
			continue
		case one != nil:
			return left, one
		}
		p.log.Info("the subscription of an earlier copy was deleted", keyTopic, a.Topic, "subscription", a.Subscription)
	}
	return left, err
}

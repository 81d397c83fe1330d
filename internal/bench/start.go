package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// Start is how long it takes from the death of a daemon to the next event in its topic, if
// another is started at once.
type Start struct {
	Topics int
	Took   []time.Duration
}

const startRounds = 5

// start measures with so many topics, of one partition each, to all of which was published.
func (r *rig) start(ctx context.Context, topics int) (res Start, err error) {
	name := fmt.Sprintf("start_%d", topics)
	s, err := r.newSource(ctx, name)
	if err != nil {
		return res, err
	}
	folder := filepath.Join(r.dir, name)
	catalog, err := manyTypes(folder, topics)
	if err != nil {
		return res, err
	}
	db, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return res, err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	if _, err := outbox.Init(ctx, db, outbox.InitOptions{EventTypes: catalog}); err != nil {
		return res, err
	}
	write := func() error {
		_, err := db.Exec(ctx, `insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload)
			select 'a' || i, 'k', 'E' || i, 2, '{"n": 1}' from generate_series(0, $1::int - 1) i`, topics)
		return err
	}
	const env = "RUNNEL_TOPICS_PARTITIONS=1"
	d, err := r.startDaemon(s, name, folder, env)
	if err != nil {
		return res, err
	}
	defer func() { d.Kill() }()
	up, cancel := context.WithTimeoutCause(ctx, 10*time.Minute, errors.New("not within ten minutes"))
	defer cancel()
	if err := d.await(up, func(st status) bool { return st.State == "streaming" }); err != nil {
		return res, err
	}
	if err := write(); err != nil {
		return res, err
	}
	if err := d.await(up, func(st status) bool { return st.Published >= topics }); err != nil {
		return res, err
	}
	res.Topics = topics
	for range startRounds {
		d.Kill()
		began := time.Now()
		if _, err := db.Exec(ctx, `insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload) values ('a0', 'k', 'E0', 2, '{"n": 2}')`); err != nil {
			return res, err
		}
		next, err := r.startDaemon(s, name, folder, env)
		if err != nil {
			return res, err
		}
		d = next
		if err := d.await(up, func(st status) bool { return st.Published > 0 }); err != nil {
			return res, err
		}
		res.Took = append(res.Took, time.Since(began))
	}
	return res, d.stop(ctx)
}

// manyTypes writes a catalog of so many event types, each of an aggregate of its own.
func manyTypes(folder string, n int) ([]*schemas.EventType, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	for i := range n {
		text := strings.NewReplacer("%", fmt.Sprint(i)).Replace(`{"type": "record", "name": "E%", "aggregate": "a%", "fields": [{"name": "n", "type": "long"}]}`)
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("E%d.avsc", i)), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	catalog, err := schemas.Load(os.DirFS(folder), ".")
	if err != nil {
		return nil, err
	}
	return catalog.Events(), nil
}

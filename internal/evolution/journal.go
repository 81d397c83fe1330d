package evolution

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// Begin says what to carry out when a person asks for the plan with a hash, and now is
// the plan that would be made of the state at hand. Usually they are the same, and the
// plan is noted in the source database before its first step. When they are not, the
// plan that was asked for may have been cut off: what is left of it is carried out if
// every change that is needed now is one of its own. Anything else is ErrStale.
//
// Invariant: no step is carried out that was not in the plan that was asked for.
func Begin(ctx context.Context, db *pgx.Conn, hash string, now *Plan) ([]Step, error) {
	if hash != "" && now.Hash() == hash {
		text, err := json.Marshal(now.Steps)
		if err != nil {
			return nil, fmt.Errorf("note the plan: %w", err)
		}
		_, err = db.Exec(ctx, `insert into runnel.schema_plan (hash, steps) values ($1, $2)
			on conflict (hash) do update set steps = excluded.steps, begun_at = now(), begun_by = session_user, finished_at = null`, hash, text)
		if err != nil {
			return nil, fmt.Errorf("note the plan: %w", err)
		}
		return now.Steps, nil
	}
	var text []byte
	var finished bool
	err := db.QueryRow(ctx, `select steps, finished_at is not null from runnel.schema_plan where hash = $1`, hash).Scan(&text, &finished)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, ErrStale.New("the plan %.40q is not the one for what is there now: %s", hash, now.describe())
	case err != nil:
		return nil, fmt.Errorf("look for the plan: %w", err)
	case finished && len(now.Steps) > 0:
		return nil, ErrStale.New("the plan %s was carried out already, and something has changed since: what is there now needs the plan %s", hash, now.Hash())
	}
	var asked []Step
	if err := json.Unmarshal(text, &asked); err != nil {
		return nil, fmt.Errorf("read the plan %s: %w", hash, err)
	}
	for _, s := range now.Steps {
		if !slices.ContainsFunc(asked, func(o Step) bool { return o.identity() == s.identity() }) {
			return nil, ErrStale.New("the plan %s was begun, and since then something else has changed: it has no step %s of %s from %s to %s",
				hash, s.Kind, s.Object, s.From, s.To)
		}
	}
	return now.Steps, nil
}

// Finish notes that a plan is carried out.
func Finish(ctx context.Context, db *pgx.Conn, hash string) error {
	if _, err := db.Exec(ctx, `update runnel.schema_plan set finished_at = now() where hash = $1 and finished_at is null`, hash); err != nil {
		return fmt.Errorf("note that the plan is carried out: %w", err)
	}
	return nil
}

func (p *Plan) describe() string {
	if len(p.Steps) == 0 {
		return "nothing is left to do"
	}
	return "that is " + p.Hash()
}

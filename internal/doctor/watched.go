package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/runnel-cdc/runnel/outbox"
)

var watchedChecks = []Check{
	{Name: "watched-tables", About: "watched tables are as they were when runnel.watch was called", Needs: []string{"outbox"}, Run: checkWatchedTables},
}

func checkWatchedTables(ctx context.Context, s *Session) (string, error) {
	tables, err := outbox.WatchedTables(ctx, s.pg)
	if err != nil {
		return "", queryFault(err, "look at the watched tables")
	}
	return judgeWatchedTables(tables)
}

// judgeWatchedTables fails by what keeps rows from being published as they are,
// and warns of what only slows them down, each with its own remedy.
func judgeWatchedTables(tables []outbox.WatchedTable) (string, error) {
	if len(tables) == 0 {
		return "no table is watched", nil
	}
	var messages, remedies, names []string
	fatal := false
	for _, t := range tables {
		name := t.Name
		if f := t.FirstState; f != nil && f.Finished.IsZero() {
			name += fmt.Sprintf(" (first state: %d rows so far)", f.Rows)
		}
		names = append(names, name)
		for _, p := range t.Problems {
			fatal = fatal || p.Fatal
			messages = append(messages, p.Message)
			if n := len(remedies); n == 0 || remedies[n-1] != p.Remedy {
				remedies = append(remedies, p.Remedy)
			}
		}
	}
	if len(messages) == 0 {
		return fmt.Sprintf("%s watched: %s", Count(len(tables), "table"), strings.Join(names, ", ")), nil
	}
	problem := outbox.ErrTableAltered.New("%s", strings.Join(messages, "; ")).Fix("%s", strings.Join(remedies, "\n"))
	if !fatal {
		return "", warning{problem}
	}
	return "", problem
}

package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/wire"
)

// projectionFlag adds --projection; requireProjection checks it.
func projectionFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "projection", "", "`name` of the projection; required")
}

func requireProjection(name string) error {
	if name == "" {
		return ErrUsage.New("--projection is missing").Fix("Write the projection's name: `--projection fulfilment`.")
	}
	return nil
}

// requireKnown reports a projection that never ran in the database.
func requireKnown(ctx context.Context, conn *pgx.Conn, name string) error {
	var made bool
	if err := conn.QueryRow(ctx, "select to_regclass('runnel_projections.projection') is not null").Scan(&made); err != nil {
		return err
	}
	var names []string
	if made {
		err := conn.QueryRow(ctx, "select coalesce(array_agg(distinct name order by name), '{}') from runnel_projections.projection").Scan(&names)
		if err != nil || slices.Contains(names, name) {
			return err
		}
	}
	fault := ErrUsage.New("database %s holds no projection %.100q", conn.Config().Database, name)
	if len(names) == 0 {
		return fault.Fix("Give --postgres the database of the projection's own tables; no projection ever ran in this one.")
	}
	return fault.Fix("It holds: %s. Correct --projection, or give --postgres the projection's own database.", strings.Join(names, ", "))
}

// withProjection runs do with a connection to the database of a projection, which
// must have run there. doing says what for, in an error.
func withProjection(ctx context.Context, c *call, projection, app, doing string, do func(*pgx.Conn) (any, error)) (any, error) {
	return withCopies(ctx, c, app, doing, func(conn *pgx.Conn) (any, error) {
		if err := requireKnown(ctx, conn, projection); err != nil {
			return nil, err
		}
		return do(conn)
	})
}

// withCopies runs do with a connection to a database of projections.
func withCopies(ctx context.Context, c *call, app, doing string, do func(*pgx.Conn) (any, error)) (any, error) {
	cfg, err := c.config("postgres.url")
	if err != nil {
		return nil, err
	}
	conn, err := c.deps.postgres(ctx, cfg, app)
	if err != nil {
		return nil, err
	}
	defer wire.Close(conn)
	result, err := do(conn)
	switch {
	case err == nil:
		return result, nil
	case fault.Find(err) == nil:
		err = wire.QueryFault(err, doing)
	}
	return nil, err
}

package cli

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/doctor"
	"github.com/runnel-cdc/runnel/internal/wire"
)

// deps are what commands reach outside of the process for. Tests replace them.
type deps struct {
	runDaemon func(context.Context, daemonOptions) error
	runDemo   func(context.Context, demoOptions) error
	doctor    func(context.Context, *config.Config, ...string) (doctor.Report, error)
	postgres  func(ctx context.Context, cfg *config.Config, purpose string) (*pgx.Conn, error)
	dial      func(context.Context, *config.Config) (tailClient, error)
}

func realDeps() deps {
	return deps{
		runDaemon: runDaemon,
		runDemo:   runDemo,
		doctor:    doctor.Run,
		postgres:  wire.Postgres,
		dial:      dialTail,
	}
}

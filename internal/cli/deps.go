package cli

import (
	"context"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/doctor"
)

// deps are what commands reach outside of the process for. Tests replace them.
type deps struct {
	runDaemon func(context.Context, daemonOptions) error
	runDemo   func(context.Context, demoOptions) error
	doctor    func(context.Context, *config.Config, ...string) (doctor.Report, error)
	postgres  func(ctx context.Context, cfg *config.Config, purpose string) (*pgx.Conn, error)
	http      *http.Client
}

// httpLimit bounds a question to a daemon's own endpoint.
const httpLimit = 3 * time.Second

func realDeps() deps {
	return deps{
		runDaemon: runDaemon,
		runDemo:   runDemo,
		doctor:    doctor.Run,
		postgres:  doctor.ConnectPostgres,
		http:      &http.Client{Timeout: httpLimit},
	}
}

// closeConn says good-bye to Postgres within a second; a lost session is as
// good as a closed one.
func closeConn(conn *pgx.Conn) {
	if conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

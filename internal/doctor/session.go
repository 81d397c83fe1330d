package doctor

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/schemas"
)

// Session holds what checks have found for those that need them. It is used by
// one goroutine.
type Session struct {
	cfg     *config.Config
	pg      *pgx.Conn        // after the check postgres
	seen    *capture.Server  // after server
	catalog *schemas.Catalog // after the check catalog
	pulsar  *broker.Pulsar   // after the check pulsar
	daemon  *Daemon          // after askDaemon
}

// askDaemon asks the daemon once.
func (s *Session) askDaemon(ctx context.Context) Daemon {
	if s.daemon == nil {
		d := AskDaemon(ctx, s.cfg)
		s.daemon = &d
	}
	return *s.daemon
}

func (s *Session) close() {
	if s.pulsar != nil {
		s.pulsar.Close()
	}
	wire.Close(s.pg)
}

// queryFault gives a failed query a code; nil and faults stay as they are.
func queryFault(err error, what string) error {
	if err = wire.QueryFault(err, what); err == nil || fault.Find(err) != nil {
		return err
	}
	return ErrCheck.Wrap(err, "look at the database")
}

package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/runnel-cdc/runnel/internal/wire"
)

var catalogChecks = []Check{
	{Name: "catalog", About: "the .avsc files are a catalog", Run: checkCatalog},
	{Name: "event-types", About: "writers may publish the catalog's events", Needs: []string{"catalog", "outbox"}, Run: checkEventTypes},
}

func checkCatalog(_ context.Context, s *Session) (string, error) {
	if s.cfg.Schemas == "" {
		return "", skipped{"no folder of schemas is configured (--schemas)"}
	}
	catalog, err := wire.Catalog(s.cfg.Schemas)
	if err != nil {
		return "", err
	}
	s.catalog = catalog
	return fmt.Sprintf("%s: %s, %s", s.cfg.Schemas, Count(len(catalog.Events()), "event"), Count(len(catalog.Types()), "type")), nil
}

func checkEventTypes(ctx context.Context, s *Session) (string, error) {
	var registered int
	if err := s.pg.QueryRow(ctx, `select count(distinct name) from runnel.event_type`).Scan(&registered); err != nil {
		return "", queryFault(err, "read the event types")
	}
	if registered == 0 {
		return "", warning{ErrEventTypes.New("no event type is registered, so writers may publish any, and a misspelled one halts the stream")}
	}
	var missing []string
	for _, e := range s.catalog.Events() {
		var there bool
		if err := s.pg.QueryRow(ctx, `select exists (select from runnel.event_type where name = $1 and fingerprint = $2)`,
			e.Name, e.Fingerprint[:]).Scan(&there); err != nil {
			return "", queryFault(err, "read the event types")
		}
		if !there {
			missing = append(missing, e.Name)
		}
	}
	if len(missing) > 0 {
		return "", ErrEventTypes.New("not registered in this version: %s", strings.Join(missing, ", "))
	}
	return fmt.Sprintf("%s registered, all of the catalog among them", Count(registered, "event type")), nil
}

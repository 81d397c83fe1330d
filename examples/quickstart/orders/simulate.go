package orders

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/shopspring/decimal"

	"github.com/runnel-cdc/runnel/examples/quickstart/events"
)

// Simulation is customers, a till and a warehouse at work.
type Simulation struct {
	DB      *pgxpool.Pool
	Writers int           // concurrent ones; default 4
	Pause   time.Duration // between two changes of one writer; default 40 ms
	Seed    uint64
	// Publishing, if set, is told of each event just before its commit.
	Publishing func(id uuid.UUID)

	// RolledBack counts transactions that wrote an order and its event and were
	// then rolled back on purpose: nothing of them may ever be seen.
	RolledBack atomic.Int64
}

// Run changes orders until ctx ends.
func (s *Simulation) Run(ctx context.Context) error {
	writers, pause := s.Writers, s.Pause
	if writers <= 0 {
		writers = 4
	}
	if pause <= 0 {
		pause = 40 * time.Millisecond
	}
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		wg.Go(func() {
			errs[w] = s.writer(ctx, w, pause)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (s *Simulation) writer(ctx context.Context, w int, pause time.Duration) error {
	random := rand.New(rand.NewPCG(s.Seed, uint64(w)))
	service, warehouse := &Service{s.DB, s.Publishing}, &Warehouse{s.DB, s.Publishing}
	var open []string // orders of this writer that may still change
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		// A change that has begun is finished, so that its outcome is known.
		work := context.WithoutCancel(ctx)
		var err error
		switch i := random.IntN(10); {
		case len(open) == 0 || i < 3:
			o := draw(random, fmt.Sprintf("%d-%04d", w+1, n))
			if err = service.Place(work, o); err == nil {
				open = append(open, o.ID)
			}
		case i < 4:
			err = s.changeOfMind(work, draw(random, fmt.Sprintf("%d-%04d-x", w+1, n)))
		default:
			k := random.IntN(len(open))
			id := open[k]
			switch {
			case i < 7:
				err = service.Pay(work, id, events.PaymentMethodCard, uuid.NewString())
			case i < 9:
				err = warehouse.Ship(work, id, pick(random, "DHL", "UPS", "post"), &id)
			default:
				err = service.Cancel(work, id, pick(random, "changed my mind", "found it cheaper", "too late"))
			}
			if err == nil && i >= 7 {
				open = append(open[:k], open[k+1:]...)
			}
			if errors.Is(err, ErrNotPossible) {
				err = nil
			}
		}
		if err != nil {
			return err
		}
	}
}

// errChangedMind rolls a transaction back.
var errChangedMind = errors.New("changed my mind")

// changeOfMind writes an order and its event, and rolls both back.
func (s *Simulation) changeOfMind(ctx context.Context, o Order) error {
	err := pgx.BeginFunc(ctx, s.DB, func(tx pgx.Tx) error {
		if err := (&Service{DB: s.DB}).place(ctx, tx, o); err != nil {
			return err
		}
		return errChangedMind
	})
	if errors.Is(err, errChangedMind) {
		s.RolledBack.Add(1)
		return nil
	}
	return err
}

func draw(random *rand.Rand, id string) Order {
	o := Order{ID: id, CustomerID: uuid.New()}
	for range 1 + random.IntN(3) {
		o.Lines = append(o.Lines, events.OrderLine{
			SKU:       fmt.Sprintf("A-%03d", random.IntN(500)),
			Quantity:  int32(1 + random.IntN(4)),
			UnitPrice: decimal.New(int64(100+random.IntN(9900)), -2),
		})
	}
	if random.IntN(5) > 0 {
		o.ShipTo = &events.Address{Street: "Main Street 1", City: pick(random, "Lisbon", "Aarhus", "Graz"), Country: "PT"}
	}
	return o
}

func pick(random *rand.Rand, choices ...string) string { return choices[random.IntN(len(choices))] }

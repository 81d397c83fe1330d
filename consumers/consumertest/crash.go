package consumertest

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/broker"
)

// Moment is where Crash kills a projection.
type Moment uint8

// The moments. At each of them a crash would show what is not exact.
const (
	// BeforeCommit: the handlers returned, and nothing is durable. They are called
	// again for the same events.
	BeforeCommit Moment = iota
	// BeforeAck: rows and position are durable, and the broker does not know. It
	// delivers the events again, and they are skipped.
	BeforeAck
)

// String returns the moment in words.
func (m Moment) String() string {
	return [...]string{"before the commit", "before the acknowledgement"}[m]
}

// Crash makes the projection die, from the next Apply on, whenever one of its
// partitions comes to one of these moments with an event for the first time, and
// start again; without moments, at all of them. So every event, of every partition
// of every topic, is rolled back once after its handler returned, and delivered
// again once after it was applied, and what a test expects must hold as it does
// without crashes.
func (h *Harness) Crash(at ...Moment) {
	if len(at) == 0 {
		at = []Moment{BeforeCommit, BeforeAck}
	}
	c := &crashes{at: make(map[Moment]bool), of: make(map[broker.Partition]*deaths)}
	for _, m := range at {
		c.at[m] = true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.crashes, h.dying = c, nil
}

// CrashWhen makes the projection die whenever dies says so, and start again; nil:
// never. It takes the place of Crash. dies is called at every moment, by one
// goroutine at a time, and must let the projection live now and then. It is not told
// which partition is there: with several, one may never die.
func (h *Harness) CrashWhen(dies func(Moment) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.crashes, h.dying = nil, dies
}

// crashes is what Crash has to remember, under Harness.mu.
type crashes struct {
	at map[Moment]bool
	of map[broker.Partition]*deaths
}

func (c *crashes) deaths(of broker.Partition) *deaths {
	d := c.of[of]
	if d == nil {
		d = newDeaths()
		c.of[of] = d
	}
	return d
}

// commit says what a transaction would make durable: what its partition's position
// row holds after it.
type commit struct {
	ordinal int64 // of the last event passed
	parked  int64 // how many events are put aside
}

// deaths says what a partition died with.
//
// Which events share a transaction, or an acknowledgement, is a matter of chance, so
// it is not enough to die every other time: the second time there may be more.
//
// Invariants: a commit lives only when every event whose handler it makes durable was
// in a transaction that died; an acknowledgement only when one that died covered as
// much. Each death that is not the last covers more than those before it, or is of
// what was tried again while nothing was made durable, so that they come to an end.
type deaths struct {
	known      bool            // a commit lived; durable is its ordinal
	durable    int64           // up to where events are durable
	furthest   int64           // the highest ordinal of a commit that died
	rolledBack map[commit]bool // the commits that died since the last one that lived
	unacked    int64           // how many messages an acknowledgement that died covered
}

func newDeaths() *deaths { return &deaths{rolledBack: make(map[commit]bool)} }

// beforeCommit reports whether a transaction is to die.
func (d *deaths) beforeCommit(c commit) bool {
	// Where it moves the position: one that moved it as far, from here or from before.
	// Otherwise it tries parked events again: the same ones.
	moves := d.known && c.ordinal > d.durable
	if d.rolledBack[c] || moves && c.ordinal <= d.furthest {
		d.known, d.durable = true, c.ordinal
		clear(d.rolledBack)
		return false
	}
	d.rolledBack[c] = true
	d.furthest = max(d.furthest, c.ordinal)
	return true
}

// beforeAck reports whether the acknowledgement of so many messages is to be lost.
func (d *deaths) beforeAck(messages int64) bool {
	if messages <= d.unacked {
		return false
	}
	d.unacked = messages
	return true
}

// mortalTx is a transaction of a partition during which the projection may be killed.
type mortalTx struct {
	pgx.Tx
	h  *Harness
	of broker.Partition
}

func (m *mortalTx) Commit(ctx context.Context) error {
	c, err := m.holds(ctx)
	if err != nil {
		return err
	}
	if m.h.diesBeforeCommit(m.of, c) {
		if err := m.Rollback(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		m.h.kill()
		return context.Canceled
	}
	return m.Tx.Commit(ctx)
}

// holds returns what the transaction would make durable, where Crash wants to know.
func (m *mortalTx) holds(ctx context.Context) (c commit, err error) {
	m.h.mu.Lock()
	asked := m.h.crashes != nil && m.h.crashes.at[BeforeCommit]
	m.h.mu.Unlock()
	if asked {
		err = m.QueryRow(ctx, `select ordinal, parked from runnel_projections.position
			where projection = $1 and version = $2 and topic = $3 and partition = $4`,
			m.h.about.Name, m.h.about.Version, m.of.Topic, m.of.Index).Scan(&c.ordinal, &c.parked)
	}
	return c, err
}

func (h *Harness) diesBeforeCommit(of broker.Partition, c commit) bool {
	return h.dies(BeforeCommit, func(all *crashes) bool { return all.deaths(of).beforeCommit(c) })
}

func (h *Harness) diesBeforeAck(of broker.Partition, id broker.MessageID) bool {
	return h.dies(BeforeAck, func(all *crashes) bool { return all.deaths(of).beforeAck(id.Entry + 1) })
}

// dies asks whether the projection is to be killed; ask asks what Crash remembers. A
// life that another partition has ended already does not go on.
func (h *Harness) dies(at Moment, ask func(*crashes) bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.moving()
	if h.run.died {
		return true
	}
	h.run.died = h.crashes != nil && h.crashes.at[at] && ask(h.crashes) || h.dying != nil && h.dying(at)
	return h.run.died
}

// kill ends the projection's life, at which dies said so.
func (h *Harness) kill() {
	release, err := h.world.take(h.t.Context()) // see database
	if err == nil {
		defer release()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.run.cancel()
}

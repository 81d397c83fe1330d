package evolvetest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/examples/quickstart/orders"
	"github.com/runnel-cdc/runnel/internal/child"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
)

// kills is how often an apply is killed that has done some of its steps and not all.
const kills = 5

// amid counts these.
func amid(left [][]int) (n int) {
	for _, l := range left {
		for _, steps := range l[1:] {
			if steps > 0 && steps < l[0] {
				n++
			}
		}
	}
	return n
}

// A plan is for what it saw: what somebody else registers in between makes it stale, and
// then nothing of it is carried out. An apply that is killed, wherever it is, goes on by
// the same command, while services publish and a copy is kept; in the end nothing is left
// to plan, and nothing was lost or repeated.
func TestApplyKilledUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	random := rand.New(rand.NewPCG(1, 1))
	w.elsewhere("first")
	all := [][]int{w.killed(random)} // of a namespace that is not there
	daemon, stopDaemon := w.daemon(oldCatalog)
	old := w.fulfil()
	stop := w.background("the old release", (&orders.Simulation{DB: w.service, Pause: 40 * time.Millisecond, Seed: 3}).Run)
	w.more(100)

	w.put(newCatalog)
	w.elsewhere("first")
	w.elsewhere("mine")
	mine := w.schemas(0, "plan").Result.Hash
	theirs := w.registered(mine)
	stale := w.schemas(2, "apply", "--plan", mine)
	if stale.Error.Code != "SCHEMA_PLAN_STALE" || len(w.versions()) != theirs {
		t.Errorf("applied over what somebody else registered: %+v, %d versions, want %d", stale.Error, len(w.versions()), theirs)
	}
	for n := 0; n == 0 || n < 8 && amid(all) < kills; n++ { // once at least: it applies the new catalog
		w.elsewhere(fmt.Sprintf("round%d", n))
		all = append(all, w.killed(random))
	}
	if amid(all) < kills {
		t.Errorf("steps left at the beginning and after each kill: %v, want %d kills between a plan's first step and its last", all, kills)
	}
	t.Logf("steps left at the beginning and after each kill: %v", all)
	w.exec(migration)
	stopNew := w.background("the new release", (&release{w.service}).Run)
	w.more(200)
	if st := daemon.Status(); st.Run != 1 || st.State != pipeline.Streaming {
		t.Errorf("run %d is %s, want the first one streaming: %s", st.Run, st.State, st.Message)
	}
	stopDaemon()
	w.daemon(oldCatalog) // of the release before, it publishes what the new one's services write
	w.more(50)
	stop()
	stopNew()
	total := w.committed()
	old.passes(t, total)
	old.equals(w, oldColumns)
	w.audit()
}

// elsewhere adds events of other aggregates to the catalog, so that there is more to do.
func (w *world) elsewhere(prefix string) {
	w.t.Helper()
	for i := range 4 {
		name := fmt.Sprintf("%s%d", prefix, i)
		text := fmt.Sprintf(`{"type": "record", "name": "Made_%s", "aggregate": "%s", "fields": [{"name": "n", "type": "int"}]}`, name, name)
		if err := os.WriteFile(filepath.Join(w.catalog, name+".avsc"), []byte(text), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
}

// registered applies, with another catalog than this one's, an event of the same topic,
// as somebody else would, and returns how many versions the topic has.
func (w *world) registered(mine string) int {
	w.t.Helper()
	other := *w
	other.catalog = filepath.Join(w.t.TempDir(), "theirs")
	other.put(oldCatalog)
	other.elsewhere("first")
	other.edit(change{"OrderCancelled.avsc", `"fields": [`, `"fields": [
    {"name": "by", "type": "string", "default": "customer", "doc": "Who wanted it."},`})
	other.apply()
	// In mine too, or it would be taken out again: that is refused, as it was let through.
	w.edit(change{"OrderCancelled.avsc", `"fields": [`, `"fields": [
    {"name": "by", "type": "string", "default": "customer", "doc": "Who wanted it."},`})
	if e := w.schemas(0, "plan"); e.Result.Hash == mine {
		w.t.Errorf("the plan is the same, %s", mine)
	}
	return len(w.versions())
}

// killed applies a plan, and kills what does so at random moments of its work until one
// comes to its end: the same command goes on where it was. It notes, of each that was
// killed, how many steps were left.
func (w *world) killed(random *rand.Rand) (left []int) {
	w.t.Helper()
	plan := w.schemas(0, "plan").Result
	left = append(left, len(plan.Steps))
	working := func() bool { // it has the lock of those who apply
		return pgtest.Value[bool](w.t, w.db, `select exists (select from pg_locks where locktype = 'advisory' and objid = 4 and granted
			and database = (select oid from pg_database where datname = current_database()))`)
	}
	for {
		pgtest.Eventually(w.t, patience, func() bool { return !working() }, "the database notices that the last one is dead")
		p, err := child.Start(w.command(w.t.Context(), w.daemonURL, "schemas", "apply", "--plan", plan.Hash), nil)
		if err != nil {
			w.t.Fatal(err)
		}
		pgtest.Eventually(w.t, patience, func() bool { return !p.Alive() || working() }, "the apply begins")
		after := time.Duration(random.IntN(400)) * time.Millisecond // somewhere in its work
		if len(left) > 2*kills || amid([][]int{left}) >= kills {
			after = patience // enough of that
		}
		select {
		case <-p.Done():
		case <-time.After(after):
		}
		if !p.Alive() {
			if p.Err() != nil {
				w.t.Errorf("the apply ended by itself: %v", p.Err())
			}
			w.nothingLeft()
			return left
		}
		p.Kill()
		left = append(left, len(w.schemas(0, "plan").Result.Steps))
	}
}

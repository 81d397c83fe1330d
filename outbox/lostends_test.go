package outbox_test

import (
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/position"
)

// TestAcceptLost: what is accepted is noted for every partition of a topic, with where the
// outbox and the WAL are; a topic that is not known is an error that names those that are.
func TestAcceptLost(t *testing.T) {
	b := newBox(t)
	b.Exec(t, "insert into runnel.epoch (epoch, system_id, timeline, begin_lsn) values (3, '7', 1, '0/0')")
	b.Exec(t, "insert into runnel.progress_partition (pipeline, topic, partition, position, ordinal) select 'p', 'persistent://a/b/order', n, '', n * 10 from generate_series(0, 2) n")
	if n := pgtest.Value[int](t, b.DB, "select runnel.accept_lost('p', 'persistent://a/b/order')"); n != 3 {
		t.Errorf("%d partitions", n)
	}
	all := pgtest.Values[string](t, b.DB, "select concat_ws(' ', resumed_ordinal, resumed_seq = (select last_value from runnel.outbox_seq), resumed_at) from runnel.progress_partition order by partition")
	for i, want := range []string{"0 t ", "10 t ", "20 t "} {
		at, err := position.Parse(strings.TrimPrefix(all[i], want))
		if err != nil || at.Epoch != 3 || at.LSN == 0 {
			t.Errorf("%s: %v, %v", all[i], at, err)
		}
	}
	_, err := pgtest.Conn(t, b.daemon).Exec(t.Context(), "select runnel.accept_lost('p', 'order')")
	if err == nil || !strings.Contains(err.Error(), "published to no topic 'order'") {
		t.Errorf("%v", err)
	}
}

package pipeline

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// backlog is what is known of the oldest transaction that is committed and not confirmed.
// Where nothing is, that is told, and not taken for none: a run that has just begun has read
// nothing of what was committed while none was there.
type backlog struct {
	oldest int64  // its commit time, microseconds since 1970; 0: none is known
	end    uint64 // of the server's WAL, when it was first asked for in this run; 0: it was not yet
	upToIt bool   // all up to end was confirmed in this run: what is committed later is read as it comes
}

// measured takes the end of the server's WAL.
func (b *backlog) measured(end uint64) {
	if b.end == 0 {
		b.end = end
	}
}

// read takes what the loop knows: the oldest transaction that it has received and not
// confirmed, 0 for none, and up to where it has confirmed since start. What an earlier run has
// left unconfirmed is the oldest until this one confirms anything.
func (b *backlog) read(oldest int64, start, confirmed uint64) {
	b.upToIt = b.upToIt || b.end > 0 && confirmed >= b.end
	if oldest != 0 || b.upToIt || confirmed > start {
		b.oldest = oldest
	}
}

// begin is called before a run, and after it.
func (b *backlog) begin() { b.end, b.upToIt = 0, false }

// age is that of the oldest transaction, in seconds, and whether it is known. It grows on while
// the pipeline is halted; where none is known then, it is that of the first one that there may
// be since.
func (b *backlog) age(halted bool, since time.Time) (seconds float64, known bool) {
	switch {
	case b.oldest != 0:
		since = time.UnixMicro(b.oldest)
	case !halted:
		return 0, b.upToIt
	}
	return max(0, time.Since(since).Seconds()), true
}

// ageMetric shows an age, while it is known.
type ageMetric struct {
	desc *prometheus.Desc
	age  func() (seconds float64, known bool)
}

// Describe implements prometheus.Collector.
func (m ageMetric) Describe(to chan<- *prometheus.Desc) { to <- m.desc }

// Collect implements prometheus.Collector.
func (m ageMetric) Collect(to chan<- prometheus.Metric) {
	if seconds, known := m.age(); known {
		to <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, seconds)
	}
}

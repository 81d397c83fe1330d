package pipeline

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// backlog is what is known of the oldest transaction that is committed and not confirmed.
//
// The loop knows best, of what it was sent, once it has read what was committed before the run began.
// Until then, and while there is no run, the source database is asked, by the progress that was saved:
// it may name what was published within a second of that. Where it does not answer, nothing is older than
// when all was confirmed last. So while a run has not come to it, the age does not stand still, nor
// vanish, where something waits: at worst it is too high.
type backlog struct {
	oldest int64  // its commit time as the loop knows it, microseconds since 1970; 0: none is known
	end    uint64 // of the server's WAL, when it was first asked for in this run; 0: it was not yet
	upToIt bool   // all up to end was confirmed in this run: what is committed later is read as it comes

	asked time.Time // of the oldest row that is not known as confirmed, by the database; zero: none
	known bool      // asked is

	clear  time.Time // all that was committed by then is confirmed; zero: it is not known
	next   uint64    // an end of the server's WAL; once it is confirmed, clear is nextAt. 0: none
	nextAt time.Time
}

// measured takes the end of the server's WAL, which was asked for at a time.
func (b *backlog) measured(end uint64, at time.Time) {
	if b.end == 0 {
		b.end = end
	}
	if b.next == 0 {
		b.next, b.nextAt = end, at
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
	if b.next > 0 && confirmed >= b.next {
		b.clear, b.next = b.nextAt, 0
	}
}

// unknown reports whether the database should be asked.
func (b *backlog) unknown() bool { return !b.upToIt }

// answered takes what the database says, which was asked at a time: the zero time when nothing waits. What is older than that
// was confirmed, maybe by another daemon.
func (b *backlog) answered(oldest, at time.Time) {
	b.asked, b.known = oldest, true
	if oldest.IsZero() || b.oldest != 0 && oldest.After(time.UnixMicro(b.oldest)) {
		b.oldest = 0
	}
	if oldest.IsZero() {
		b.clear = at
	}
}

// silent is called when the database does not answer.
func (b *backlog) silent() { b.asked, b.known = time.Time{}, false }

// begin is called before a run, and after it.
func (b *backlog) begin() { b.end, b.next, b.upToIt = 0, 0, false }

// age is that of the oldest transaction, in seconds, and whether it is known.
func (b *backlog) age() (seconds float64, known bool) {
	var since time.Time
	switch {
	case b.oldest != 0:
		since = time.UnixMicro(b.oldest)
	case b.upToIt, b.known && b.asked.IsZero():
		return 0, true
	case b.known:
		since = b.asked
	case b.clear.IsZero():
		return 0, false
	default:
		since = b.clear
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

package demo

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/runnel-cdc/runnel/consumers"
)

// eventPause is the least time between two event lines: more can't be read.
const eventPause = 250 * time.Millisecond

// speaker writes what the demo tells, a line at a time.
type speaker struct {
	mu   sync.Mutex
	out  io.Writer
	last time.Time
	more int // events since the last line
}

func newSpeaker(out io.Writer) *speaker { return &speaker{out: out} }

func (s *speaker) line(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = fmt.Fprintf(s.out, format+"\n", args...) // a closed terminal is no reason to stop
}

func (s *speaker) heading(format string, args ...any) {
	s.line("\n"+format, args...)
}

// pair writes an aligned name and value.
func (s *speaker) pair(name, value string) { s.line("  %-11s %s", name, value) }

// event writes a received event, when the last one is long enough ago.
func (s *speaker) event(m consumers.Message, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.more++
	if time.Since(s.last) < eventPause {
		return
	}
	_, _ = fmt.Fprintf(s.out, "  %s  %-15s order %-10s partition %d  ordinal %-5d %6.1f ms after its commit  (+%d more)\n",
		m.OccurredAt.Local().Format("15:04:05.000"), m.Type, m.AggregateID, m.Partition, m.Ordinal,
		float64(took.Microseconds())/1000, s.more-1)
	s.last, s.more = time.Now(), 0
}

// logger passes warnings of the services on.
func (s *speaker) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(lineWriter{s}, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

type lineWriter struct{ s *speaker }

func (w lineWriter) Write(b []byte) (int, error) {
	w.s.line("  %s", strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

package broker

import (
	"testing"
	"testing/synctest"
	"time"
)

// Nothing stays behind: every message is flushed, at the latest BatchDelay
// after it was sent, and an idle producer does not flush at all.
func TestFlushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := scriptedProducer(t, 1000)
		defer q.Close()
		var o outcome
		q.Send(t.Context(), msg(1), o.done(0))
		s.acknowledge(1, 0, nil)
		for n := 1; n <= 100; n++ {
			q.Send(t.Context(), msg(1), o.done(n))
			<-time.After(time.Duration(n%4) * 300 * time.Microsecond) // the bubble's clock
			if n%7 == 0 {
				q.Flush()
			}
		}
		<-time.After(time.Millisecond)
		synctest.Wait()
		if held := s.held(); held > 0 {
			t.Fatalf("%d messages were not flushed", held)
		}
		before := s.flushes()
		<-time.After(time.Hour)
		if idle := s.flushes() - before; idle > 1 {
			t.Fatalf("%d flushes of an idle producer", idle)
		}
	})
}

func TestFlushReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, _ := scriptedProducer(t, 10)
		for range 5 {
			q.Flush()
			synctest.Wait()
		}
		q.Close()
		q.Flush()
	})
}

package memory_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/internal/broker/memory"
	"github.com/runnel-cdc/runnel/internal/position"
)

// Any history of runs, faults and takeovers leaves a prefix: the rules of the
// design in small. A run acquires, verifies what it replays, skips up to the
// watermark and sends the rest; whatever fails, the next run starts over at
// what was confirmed.
func TestPrefixWhateverHappens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type run struct {
			count int
			fates []memory.Fate
			event string
		}
		runs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) run {
			return run{
				rapid.IntRange(0, 250).Draw(t, "count"),
				rapid.SliceOfN(rapid.SampledFrom([]memory.Fate{memory.Store, memory.Store, memory.Store, memory.LoseAck, memory.Fail}), 0, 6).Draw(t, "fates"),
				rapid.SampledFrom([]string{"close", "fence", "unload", "drop", "kill"}).Draw(t, "event"),
			}
		}), 1, 8).Draw(rt, "runs")
		synctest.Test(t, func(t *testing.T) {
			b := shop(t)
			defer b.Close()
			confirmed := 0
			for i, r := range runs {
				b.OnAdd(func(memory.Add) memory.Fate {
					if len(r.fates) == 0 {
						return memory.Store
					}
					f := r.fates[0]
					r.fates = r.fates[1:]
					return f
				})
				c := b.Connect(fmt.Sprint(i))
				p, tail, err := acquire(c, confirmed+1)
				if err != nil {
					rt.Fatal(err)
				}
				var want position.Digest
				for n := confirmed + 1; n <= int(tail.Stamp.Ordinal); n++ {
					want.Add(stamp(n).Position)
				}
				if tail.ReadBack != want {
					rt.Fatalf("run %d: tail %+v, confirmed %d", i, tail, confirmed)
				}
				var got results
				for n := int(tail.Stamp.Ordinal) + 1; n <= int(tail.Stamp.Ordinal)+r.count; n++ {
					p.Send(t.Context(), event(n), got.done)
					if n == int(tail.Stamp.Ordinal)+1 {
						synctest.Wait()
					}
				}
				switch r.event {
				case "fence":
					err = b.Fence(part)
				case "unload":
					err = b.Unload(topicName)
				case "drop":
					c.Drop()
				case "close":
					synctest.Wait()
				}
				if err != nil {
					rt.Fatal(err)
				}
				defer c.Close()
				if r.event != "drop" {
					c.Close()
				}
				synctest.Wait()
				confirmed = max(confirmed, int(tail.Stamp.Ordinal)+got.stored())
			}
			all, err := b.Messages(part)
			if err != nil || len(all) < confirmed {
				rt.Fatalf("%d messages, %d confirmed, %v", len(all), confirmed, err)
			}
			for i, m := range all {
				if at, err := m.Stamp(); err != nil || at != stamp(i+1) {
					rt.Fatalf("message %d is %v, %v", i+1, at, err)
				}
			}
		})
	})
}

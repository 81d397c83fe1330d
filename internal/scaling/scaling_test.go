package scaling

import (
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/router"
)

// TestSwitch draws histories: from one member to several, to others, and back, while all of
// them are killed and cut off.
func TestSwitch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pick := func(n int) int { // of bits, which it draws evenly: it prefers small integers, and those make short histories
			v := 0
			for range bits.Len(uint(n)) {
				v <<= 1
				if rapid.Bool().Draw(t, "bit") {
					v++
				}
			}
			return v % n
		}
		if err := Simulate(pick, ""); err != nil {
			t.Fatal(err)
		}
	})
}

func seeded(seed int) func(n int) int {
	r := rand.New(rand.NewPCG(uint64(seed), 1))
	return r.IntN
}

// TestSwitchSeeds has many more histories, which nobody makes smaller.
func TestSwitchSeeds(t *testing.T) {
	seeds := 5000
	if testing.Short() {
		seeds = 1000
	}
	reached := map[string]int{}
	for seed := range seeds {
		w := newWorld(seeded(seed), "")
		if err := w.simulate(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for what, ok := range w.reached {
			if ok {
				reached[what]++
			}
		}
	}
	for _, what := range []string{backToOne, threeAtOnce, diedInFlight, ghostAcquired, ghostDrained} {
		t.Logf("%d of %d: %s", reached[what], seeds, what)
		if reached[what] == 0 {
			t.Errorf("never: %s", what)
		}
	}
}

// TestMutants shows that each rule is needed, and that the checks see what it prevents.
func TestMutants(t *testing.T) {
	for _, m := range Mutants {
		t.Run(string(m), func(t *testing.T) {
			for seed := range 5000 {
				var v *Violation
				if errors.As(Simulate(seeded(seed), m), &v) {
					t.Logf("seed %d, %d steps: %s", seed, len(v.Trace), v.What)
					return
				}
			}
			t.Error("it is not caught")
		})
	}
}

// TestClass: the remainder of a key's hash by a common divisor of all partition counts is
// the same as its partition's in each of these topics, so that whoever owns a class of
// keys owns whole partitions.
func TestClass(t *testing.T) {
	for _, divisor := range []int{1, 2, 4, 8} {
		for _, count := range []int{8, 16, 64, 96} {
			for i := range 1000 {
				key := fmt.Appendf(nil, "order-%d", i)
				if class, p := router.PartitionOf(key, divisor), router.PartitionOf(key, count); p%divisor != class {
					t.Fatalf("%s: class %d of %d, partition %d of %d", key, class, divisor, p, count)
				}
			}
		}
	}
}

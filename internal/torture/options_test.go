package torture

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func names(all []fault) (out []string) {
	for _, f := range all {
		out = append(out, f.name)
	}
	return out
}

// TestPlanIsOfTheSeed: the same seed draws the same faults, another one others,
// and every kind comes before one comes again.
func TestPlanIsOfTheSeed(t *testing.T) {
	draw := func(seed uint64, spec string) []string {
		all, endless, err := plan(rand.New(rand.NewPCG(seed, 1)), spec)
		if err != nil || endless != (spec == "") {
			t.Fatalf("%q: endless %t, %v", spec, endless, err)
		}
		return names(all)
	}
	a, b, c := draw(1, "60"), draw(1, "60"), draw(2, "60")
	if len(a) != 60 || !slices.Equal(a, b) || slices.Equal(a, c) {
		t.Errorf("seed 1: %v, again %v, seed 2: %v", a, b, c)
	}
	seen := make(map[string]bool)
	for _, name := range a {
		seen[name] = true
	}
	if len(seen) != len(pool("")) {
		t.Errorf("%d kinds of %d in 60 faults", len(seen), len(pool("")))
	}
	if got := draw(1, "pause*2,kill@capture.snapshot,two"); !slices.Equal(got, []string{"kill@capture.snapshot", "pause", "pause", "two"}) {
		t.Errorf("a list: %v", got)
	}
	if got := draw(1, ""); len(got) != len(pool("")) {
		t.Errorf("without a number: %v", got)
	}
}

// TestGroupsAreAskedFor: a group is drawn from when it is named, and never otherwise.
func TestGroupsAreAskedFor(t *testing.T) {
	all := names(group(groupNet))
	if len(all)+len(group(groupDisk))+len(group(groupSlot))+len(group(groupPoison))+len(group(groupRoutes))+len(pool("")) != len(FaultNames()) {
		t.Errorf("%d in the group, %d drawn, of %d", len(all), len(pool("")), len(FaultNames()))
	}
	for spec, want := range map[string]int{"net": len(all), "net*20": 20, "pause,net*3": 3, "net.pulsar.reset*2": 2, "100": 0, "": 0} {
		got, endless, err := plan(rand.New(rand.NewPCG(1, 1)), spec)
		if err != nil || endless != (spec == "net" || spec == "") {
			t.Fatalf("%q: endless %t, %v", spec, endless, err)
		}
		n := 0
		for _, f := range got {
			if slices.Contains(all, f.name) {
				n++
			}
		}
		if n != want {
			t.Errorf("%q: %d of the group, want %d", spec, n, want)
		}
	}
	if got := names(pool(groupNet)); !slices.Equal(got, all) {
		t.Errorf("the group is followed by %v", got)
	}
}

func TestRefusedPlans(t *testing.T) {
	for _, spec := range []string{"0", "-1", "10001", "nonsense", "pause*0", "pause*x", ",", "two,"} {
		if _, _, err := plan(rand.New(rand.NewPCG(1, 1)), spec); err == nil {
			t.Errorf("%q was accepted", spec)
		}
	}
}

package torture

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Options describe a run. Binary and Dir are required.
type Options struct {
	Seed uint64
	// Faults is a number of faults to draw, or a list of them: kind,kind*3, where a
	// group, such as net, stands for any of its kinds. Empty, or a group alone: as many
	// as Duration allows.
	Faults string
	// Duration is how long faults are drawn when Faults does not say how many. Default: 3 minutes.
	Duration time.Duration
	// Dir is the folder of the history and the logs. It is made.
	Dir string
	// Jumps says that the clock of the Binary jumps: see jumpyclock. What the daemon says of
	// the time is not judged then.
	Jumps bool
	// Binary is this program, built with the tag failpoints: its children's.
	Binary string
	// PGVersion is Postgres' major version. Default: the newest on this machine.
	PGVersion string
	// Writers is how many write at once. Default: 4.
	Writers int
	// Pace is the pause between the transactions of one writer. Default: 40 ms.
	Pace time.Duration
	// Before is how many events are in the outbox before the slot. Default: 3000.
	Before int
	// MinEvents is the least that a run must have committed. Default: Before + 50 a fault.
	MinEvents int
	// Patience bounds every single wait: for a fault to fire, for a server, for
	// events to pass again. Default: a minute, which two cores that are shared with
	// others need.
	Patience time.Duration
	// GiveUp ends the run at the first fault that ended otherwise than expected.
	GiveUp bool
	// Out is told what happens. Default: nobody.
	Out io.Writer
}

func (o Options) withDefaults() Options {
	if o.Duration <= 0 {
		o.Duration = 3 * time.Minute
	}
	if o.Writers <= 0 {
		o.Writers = 4
	}
	if o.Pace <= 0 {
		o.Pace = 40 * time.Millisecond
	}
	if o.Before <= 0 {
		o.Before = 3000
	}
	if o.Patience <= 0 {
		o.Patience = time.Minute
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	return o
}

// maxFaults bounds what a number or a list may ask for.
const maxFaults = 10_000

// plan draws the faults of a run: all kinds come before one comes again. Those of
// the initial snapshot come first, because it comes once. endless says that more
// are to be drawn until the time is over.
func plan(random *rand.Rand, spec string) (all []fault, endless bool, err error) {
	count, err := strconv.Atoi(spec)
	switch {
	case spec == "", len(group(spec)) > 0:
		all, endless = bag(random, pool(spec), len(pool(spec))), true
	case err == nil && count >= 1 && count <= maxFaults:
		all = bag(random, pool(""), count)
	case err == nil:
		return nil, false, fmt.Errorf("%d faults: from 1 to %d", count, maxFaults)
	default:
		if all, err = listed(random, spec); err != nil {
			return nil, false, err
		}
	}
	slices.SortStableFunc(all, func(a, b fault) int { return first(b) - first(a) })
	return all, endless, nil
}

// group returns the kinds of a group; none if nothing is called that.
func group(name string) []fault {
	return slices.DeleteFunc(kindsOfFaults(), func(f fault) bool { return f.group == "" || f.group != name })
}

func hasGroup(all []fault, name string) bool {
	return slices.ContainsFunc(all, func(f fault) bool { return f.group == name })
}

// pool returns what is drawn from: a group when it is asked for by name. Otherwise
// groups stay out, so that the faults of a seed are what they were before there were any.
func pool(spec string) []fault {
	if all := group(spec); len(all) > 0 {
		return all
	}
	return slices.DeleteFunc(kindsOfFaults(), func(f fault) bool { return f.group != "" })
}

func first(f fault) int {
	if f.first {
		return 1
	}
	return 0
}

// bag draws from a shuffled bag that is filled again when it is empty.
func bag(random *rand.Rand, from []fault, count int) (all []fault) {
	for len(all) < count {
		kinds := slices.DeleteFunc(slices.Clone(from), func(f fault) bool { return f.first && len(all) > 0 })
		random.Shuffle(len(kinds), func(a, b int) { kinds[a], kinds[b] = kinds[b], kinds[a] })
		all = append(all, kinds...)
	}
	return all[:count]
}

func listed(random *rand.Rand, spec string) (all []fault, err error) {
	for word := range strings.SplitSeq(spec, ",") {
		name, times, many := strings.Cut(word, "*")
		count := 1
		if many {
			if count, err = strconv.Atoi(times); err != nil || count < 1 || count > maxFaults {
				return nil, fmt.Errorf("%q is not kind*number", word)
			}
		}
		if kinds := group(name); len(kinds) > 0 {
			all = append(all, bag(random, kinds, count)...)
			continue
		}
		i := slices.IndexFunc(kindsOfFaults(), func(f fault) bool { return f.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no fault is called %q; there are %s", name, strings.Join(FaultNames(), " "))
		}
		for range count {
			all = append(all, kindsOfFaults()[i])
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no faults")
	}
	return all, nil
}

// ValidFaults returns what is wrong with Options.Faults.
func ValidFaults(spec string) error {
	_, _, err := plan(rand.New(rand.NewPCG(0, 0)), spec)
	return err
}

// FaultNames lists the kinds of faults.
func FaultNames() (names []string) {
	for _, f := range kindsOfFaults() {
		names = append(names, f.name)
	}
	return names
}

//go:build failpoints

package failpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Enabled reports whether the binary was built with failpoints.
const Enabled = true

// ErrInjected is what Error returns when a rule fires.
var ErrInjected = errors.New("failpoint: an error on purpose")

// rule fires at the left-th hit from now.
type rule struct {
	text   string
	left   int64
	action string
}

// points is the process's failpoints. The signals of a rule go to the whole
// process, so there is one.
var points struct {
	sync.Mutex
	environment sync.Once
	hits        map[string]int64
	rules       map[string][]*rule
}

// Hit counts and, when a rule says so, ends or stops the process.
func Hit(name string) { _ = Error(name) }

// Error is Hit, at a place that can fail: a rule with the action error makes it
// return ErrInjected.
func Error(name string) error {
	points.environment.Do(func() {
		if err := Arm(os.Getenv(Variable)); err != nil {
			panic(err) // a run with a mistyped fault would prove nothing
		}
	})
	points.Lock()
	if points.hits == nil {
		points.hits = make(map[string]int64)
	}
	points.hits[name]++
	var fired *rule
	rest := points.rules[name][:0]
	for _, r := range points.rules[name] {
		if r.left--; r.left <= 0 && fired == nil { // one that fell due beside another comes at the next hit
			fired = r
			continue
		}
		rest = append(rest, r)
	}
	if len(rest) > 0 || fired != nil {
		points.rules[name] = rest
	}
	if fired != nil {
		report(fired)
	}
	points.Unlock()
	if fired == nil {
		return nil
	}
	switch fired.action {
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "stop":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case "error":
		return ErrInjected
	}
	return nil
}

// report prints the line. It is one write, so that lines stay whole.
func report(r *rule) {
	text, err := json.Marshal(Report{Rule: r.text, Hits: points.hits})
	if err == nil {
		_, _ = os.Stdout.Write([]byte(Prefix + string(text) + "\n")) // nobody to tell when nobody reads
	}
}

// Arm adds rules: name:count:action, separated by commas. Counts begin now.
func Arm(text string) error {
	points.Lock()
	defer points.Unlock()
	if points.rules == nil {
		points.rules = make(map[string][]*rule)
	}
	for one := range strings.SplitSeq(text, ",") {
		if one == "" {
			continue
		}
		part := strings.Split(one, ":")
		if len(part) != 3 {
			return fmt.Errorf("failpoint: %q is not name:count:action", one)
		}
		count, err := strconv.ParseInt(part[1], 10, 64)
		if err != nil || count < 1 {
			return fmt.Errorf("failpoint: the count of %q is not a positive number", one)
		}
		switch part[2] {
		case "kill", "stop", "note", "error":
		default:
			return fmt.Errorf("failpoint: the action of %q is none of kill, stop, note, error", one)
		}
		points.rules[part[0]] = append(points.rules[part[0]], &rule{text: one, left: count, action: part[2]})
	}
	return nil
}

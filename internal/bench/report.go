package bench

import (
	"bufio"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Report is what a run has found.
type Report struct {
	Machine   Machine
	Began     time.Time
	Took      time.Duration
	Rows      int
	Rounds    int
	Drains    []DrainCase `json:",omitempty"`
	Clients   []Client    `json:",omitempty"`
	Latencies []Latency   `json:",omitempty"`
	Starts    []Start     `json:",omitempty"`
	Growth    []Growth    `json:",omitempty"`
	Large     []Large     `json:",omitempty"`
}

// Machine is what a run was made on.
type Machine struct {
	CPU      string
	Cores    int
	Memory   string
	Kernel   string
	Go       string
	Postgres string
	Pulsar   string
}

func thisMachine() Machine {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), CPU: "unknown", Memory: "unknown", Kernel: "unknown"}
	if v := fieldOf("/proc/cpuinfo", "model name"); v != "" {
		m.CPU = v
	}
	if v := fieldOf("/proc/meminfo", "MemTotal"); v != "" {
		m.Memory = v
	}
	if v, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel, _, _ = strings.Cut(strings.TrimSpace(string(v)), "-") // what follows is the distribution's
	}
	return m
}

// fieldOf returns the value of the first line of a file that has a name.
func fieldOf(file, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if k, v, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// median is the middle of the values; of an even number the lower one of the two.
func median[T int64 | float64 | time.Duration](all []T) T {
	if len(all) == 0 {
		return 0
	}
	all = slices.Clone(all)
	slices.Sort(all)
	return all[(len(all)-1)/2]
}

// of returns a figure of each drain by a system.
func of[T any](c DrainCase, system string, figure func(Drain) T) (all []T) {
	for _, d := range c.Drains {
		if d.System == system {
			all = append(all, figure(d))
		}
	}
	return all
}

func rateOf(d Drain) float64        { return d.Rate }
func cpuOf(d Drain) time.Duration   { return d.CPU }
func memoryOf(d Drain) int64        { return d.Memory }
func allocationsOf(d Drain) float64 { return d.Allocs }

func rates(c DrainCase, system string) float64 { return median(of(c, system, rateOf)) }

// spread is by how much a system's drains differ at most from their middle, as a share of it.
func spread(c DrainCase, system string) float64 {
	all := of(c, system, rateOf)
	if len(all) == 0 {
		return 0
	}
	m := median(all)
	return max(slices.Max(all)-m, m-slices.Min(all)) / m
}

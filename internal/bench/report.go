package bench

import (
	"bufio"
	"fmt"
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
		m.Kernel = strings.TrimSpace(string(v))
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

func rates(c DrainCase, system string) float64 {
	return median(of(c, system, func(d Drain) float64 { return d.Rate }))
}

// spread is by how much a system's drains differ, as a share of their middle.
func spread(c DrainCase, system string) float64 {
	all := of(c, system, func(d Drain) float64 { return d.Rate })
	if len(all) == 0 {
		return 0
	}
	return (slices.Max(all) - slices.Min(all)) / median(all)
}

// Markdown writes the report for people: ratios first.
func (r Report) Markdown() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("Machine: %s, %d cores, %s, Linux %s, %s, Postgres %s, Pulsar %s. Run of %s, %s.", r.Machine.CPU, r.Machine.Cores, r.Machine.Memory,
		r.Machine.Kernel, r.Machine.Go, r.Machine.Postgres, r.Machine.Pulsar, r.Began.UTC().Format(time.DateOnly), r.Took.Round(time.Second))
	if len(r.Drains) > 0 {
		p("\n### A backlog of %d rows, middle of %d rounds\n", r.Rows, r.Rounds)
		p("| payload | rows a transaction | of the limit | A/A control | Runnel, rows/s | pg_recvlogical, rows/s | CPU a row | peak memory |")
		p("|---|---|---|---|---|---|---|---|")
		for _, c := range r.Drains {
			limit := rates(c, systemLimit)
			p("| %s | %s | **%.2f** (±%.0f %%) | %.2f (±%.0f %%) | %.0f | %.0f | %.1f µs | %d MiB |", c.Encoding.describe(), c.perTx(),
				rates(c, systemRunnel)/limit, 50*spread(c, systemRunnel), rates(c, systemControl)/limit, 50*spread(c, systemControl),
				rates(c, systemRunnel), limit,
				float64(median(of(c, systemRunnel, func(d Drain) time.Duration { return d.CPU })))/1000,
				slices.Max(of(c, systemRunnel, func(d Drain) int64 { return d.Memory }))>>20)
		}
	}
	if len(r.Latencies) > 0 {
		p("\n### From before COMMIT to a consumer's receipt\n")
		p("| broker | events/s | p50 | p99 | p99.9 | max | CPU an event |")
		p("|---|---|---|---|---|---|---|")
		for _, l := range r.Latencies {
			p("| %s | %.0f | %s | %s | %s | %s | %.1f µs |", l.Broker, l.Got, millis(l.P50), millis(l.P99), millis(l.P999), millis(l.Max), float64(l.CPU)/1000)
		}
	}
	if len(r.Starts) > 0 {
		p("\n### From a crash (SIGKILL) to the next event\n")
		p("| topics | middle | longest | of starts |")
		p("|---|---|---|---|")
		for _, s := range r.Starts {
			p("| %d | %s | %s | %d |", s.Topics, millis(median(s.Took)), millis(slices.Max(s.Took)), len(s.Took))
		}
	}
	if len(r.Growth) > 0 {
		p("\n### Cost by size of the backlog\n")
		p("| rows | CPU a row | rows/s | peak memory |")
		p("|---|---|---|---|")
		for _, g := range r.Growth {
			p("| %d | %.2f µs | %.0f | %d MiB |", g.Rows, float64(g.Drain.CPU)/1000, g.Drain.Rate, g.Drain.Memory>>20)
		}
	}
	for _, l := range r.Large {
		p("\n### One transaction of %d MiB\n", l.Bytes>>20)
		p("| rows | peak memory | MiB/s | CPU a row |")
		p("|---|---|---|---|")
		p("| %d | %d MiB | %.0f | %.1f µs |", l.Rows, l.Drain.Memory>>20, l.Drain.Rate*float64(l.Bytes/int64(l.Rows))/(1<<20), float64(l.Drain.CPU)/1000)
	}
	return b.String()
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }

func (e Encoding) describe() string {
	if e == JSON {
		return "JSON, transcoded"
	}
	return "Avro, passing through"
}

func (c DrainCase) perTx() string {
	if c.PerTx >= c.Rows {
		return "all"
	}
	return fmt.Sprint(c.PerTx)
}

package bench

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Markdown writes the report for people: ratios first.
func (r Report) Markdown() string {
	w := &markdown{}
	w.p("Machine: %s, %d cores, %s of memory, Linux %s, %s, Postgres %s, Pulsar %s. Run of %s, which took %s.", r.Machine.CPU, r.Machine.Cores,
		r.Machine.Memory, r.Machine.Kernel, r.Machine.Go, r.Machine.Postgres, r.Machine.Pulsar, r.Began.UTC().Format(time.DateOnly), r.Took.Round(time.Second))
	r.drains(w)
	r.peers(w)
	r.latencies(w)
	if len(r.Starts) > 0 {
		w.table("From a crash (SIGKILL) to the next event in its topic", "topics", "middle", "longest", "of starts")
		for _, s := range r.Starts {
			w.row(s.Topics, millis(median(s.Took)), millis(slices.Max(s.Took)), len(s.Took))
		}
	}
	if len(r.Growth) > 0 {
		w.table("Cost by size of the backlog", "rows", "of the first", "CPU a row", "rows/s", "peak memory")
		for _, g := range r.Growth {
			w.row(g.Rows, ratio(float64(g.Drain.CPU)/float64(r.Growth[0].Drain.CPU)), micros(g.Drain.CPU), whole(g.Drain.Rate), mib(g.Drain.Memory))
		}
	}
	for _, l := range r.Large {
		w.table(fmt.Sprintf("One transaction of %s", mib(l.Bytes)), "rows", "peak memory", "MiB/s", "CPU a row")
		w.row(l.Rows, mib(l.Drain.Memory), whole(l.Drain.Rate*float64(l.Bytes/int64(l.Rows))/(1<<20)), micros(l.Drain.CPU))
	}
	if len(r.Clients) > 0 {
		w.table("Pulsar's client for Go alone", "properties of a message", "messages/s", "CPU a message")
		for _, c := range r.Clients {
			w.row(c.Properties, whole(c.Rate), micros(c.CPU))
		}
	}
	return w.String()
}

func (r Report) drains(w *markdown) {
	if len(r.Drains) == 0 {
		return
	}
	w.table(fmt.Sprintf("A backlog of %d rows, middle of %d rounds", r.Rows, r.Rounds),
		"payload", "rows a transaction", "Runnel, of the limit", "the limit, of itself (A/A)", "rows/s", "the limit's", "CPU a row", "allocations a row", "peak memory")
	for _, c := range r.Drains {
		limit := rates(c, systemLimit)
		w.row(c.Encoding.describe(), c.perTx(), "**"+share(c, systemRunnel, limit)+"**", share(c, systemControl, limit),
			whole(rates(c, systemRunnel)), whole(limit), micros(median(of(c, systemRunnel, cpuOf))),
			fmt.Sprintf("%.2f", median(of(c, systemRunnel, allocationsOf))), mib(slices.Max(of(c, systemRunnel, memoryOf))))
	}
	w.chart(r.Drains)
	w.table("Decoding without output: `pg_recvlogical` of a publication whose filter lets no row through", "rows a transaction", "share of the limit's time", "rows/s")
	for _, c := range r.Drains {
		w.row(c.perTx(), ratio(rates(c, systemLimit)/rates(c, systemNothing)), whole(rates(c, systemNothing)))
	}
}

// peers is about the cases that others took part in.
func (r Report) peers(w *markdown) {
	for _, c := range r.Drains {
		if rates(c, systemTuned) == 0 {
			continue
		}
		limit := rates(c, systemLimit)
		w.table(fmt.Sprintf("Beside Debezium Server 3.6.1 (%s, %s rows a transaction)", c.Encoding.describe(), c.perTx()),
			"", "of the limit", "of Debezium tuned", "rows/s", "CPU a row", "peak memory")
		for _, system := range []string{systemRunnel, systemTuned, systemPeer} {
			w.row(system, share(c, system, limit), ratio(rates(c, system)/rates(c, systemTuned)), whole(rates(c, system)),
				micros(median(of(c, system, cpuOf))), mib(slices.Max(of(c, system, memoryOf))))
		}
	}
}

func (r Report) latencies(w *markdown) {
	if len(r.Latencies) == 0 {
		return
	}
	for _, t := range []struct {
		title string
		of    func(Latency) Quantiles
	}{
		{"From COMMIT, before it is sent, to a consumer's receipt", func(l Latency) Quantiles { return l.Sent }},
		{"The same from when COMMIT has returned: Postgres' flush to disk is not in it", func(l Latency) Quantiles { return l.Done }},
	} {
		w.table(t.title, "broker", "", "events/s", "p50", "p99", "p99.9", "max", "CPU an event")
		for _, l := range r.Latencies {
			q := t.of(l)
			w.row(l.Broker, l.System, whole(l.Got), millis(q.P50), millis(q.P99), millis(q.P999), millis(q.Max), micros(l.CPU))
		}
	}
}

// Figures stand between these lines of a document.
const (
	figuresBegin = "<!-- figures: make bench DOC=... writes them -->\n"
	figuresEnd   = "<!-- end of figures -->\n"
)

// ReplaceFigures puts a report into a document.
func ReplaceFigures(name, report string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	head, rest, begun := strings.Cut(string(data), figuresBegin)
	_, tail, ended := strings.Cut(rest, figuresEnd)
	if !begun || !ended {
		return fmt.Errorf("%s has no place for figures: the lines %q and %q", name, strings.TrimSpace(figuresBegin), strings.TrimSpace(figuresEnd))
	}
	return os.WriteFile(name, []byte(head+figuresBegin+"\n"+report+"\n"+figuresEnd+tail), 0o644)
}

// markdown is a text in the making.
type markdown struct{ strings.Builder }

func (w *markdown) p(format string, args ...any) { fmt.Fprintf(&w.Builder, format+"\n", args...) }

func (w *markdown) table(title string, columns ...string) {
	w.p("\n### %s\n", title)
	w.p("| %s |", strings.Join(columns, " | "))
	w.p("|%s", strings.Repeat("---|", len(columns)))
}

func (w *markdown) row(cells ...any) {
	for _, c := range cells {
		fmt.Fprintf(&w.Builder, "| %v ", c)
	}
	w.p("|")
}

// chart draws, for each backlog, how fast Postgres decodes and how fast Runnel publishes.
func (w *markdown) chart(all []DrainCase) {
	var names, limits, runnel []string
	for _, c := range all {
		names = append(names, fmt.Sprintf("%q", fmt.Sprintf("%s, %s", c.Encoding, c.perTx())))
		limits = append(limits, whole(rates(c, systemLimit)))
		runnel = append(runnel, whole(rates(c, systemRunnel)))
	}
	w.p("\nBars: Runnel. Line: `pg_recvlogical`, output thrown away.\n")
	w.p("```mermaid\nxychart-beta\n  x-axis \"payload, rows a transaction\" [%s]", strings.Join(names, ", "))
	w.p("  y-axis \"rows/s\" 0 --> %s", whole(1.1*max(slices.Max(numbers(all, systemLimit)), slices.Max(numbers(all, systemRunnel)))))
	w.p("  bar [%s]\n  line [%s]\n```", strings.Join(runnel, ", "), strings.Join(limits, ", "))
}

func numbers(all []DrainCase, system string) (n []float64) {
	for _, c := range all {
		n = append(n, rates(c, system))
	}
	return n
}

func share(c DrainCase, system string, of float64) string {
	return fmt.Sprintf("%.2f (±%.0f %%)", rates(c, system)/of, 100*spread(c, system))
}

func ratio(f float64) string        { return fmt.Sprintf("%.2f", f) }
func whole(f float64) string        { return fmt.Sprintf("%.0f", f) }
func mib(n int64) string            { return fmt.Sprintf("%d MiB", n>>20) }
func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }
func micros(d time.Duration) string { return fmt.Sprintf("%.1f µs", float64(d)/1e3) }

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

package evolvetest

import (
	"path/filepath"

	"github.com/runnel-cdc/runnel/internal/readerstest/programs"
)

// generic is one of examples/readers, which takes fields by name.
type generic struct {
	program programs.Program
	file    string // its copy
	p       *programs.Process
}

func (w *world) genericReaders(run *programs.Runtime) []*generic {
	w.t.Helper()
	var all []*generic
	dir := w.t.TempDir()
	for _, program := range run.Readers(w.t) {
		g := &generic{program: program, file: filepath.Join(dir, program.Name+".db")}
		var err error
		if g.p, err = program.Start(w.t.Context(), g.file, w.topic()); err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(g.p.Kill)
		all = append(all, g)
	}
	return all
}

// reads kills the reader, which has run all the while; its successor goes on to the end
// of the topic, and prints the copy. It is that of the orders, and what was not known was
// counted.
func (w *world) reads(g *generic, total, unknown int) {
	w.t.Helper()
	if err := g.p.KillLive(); err != nil {
		w.t.Fatalf("%s: %v", g.program.Name, err)
	}
	next, err := g.program.Start(w.t.Context(), g.file, w.topic(), "--until-idle")
	if err == nil {
		err = next.Wait()
	}
	if err != nil {
		w.t.Fatalf("%s: %v\n%s", g.program.Name, err, next.Text())
	}
	rows, counted := next.Copy(w.t)
	want, err := programs.Rows(w.t.Context(), w.service, `select `+printedColumns+` from orders order by id collate "C"`)
	if err != nil {
		w.t.Fatal(err)
	}
	programs.Compare(w.t, "the copy in "+g.program.Name, rows, want)
	if counted.Applied != total-unknown || counted.Unknown != unknown {
		w.t.Errorf("%s has applied %d events and passed over %d, of %d and %d", g.program.Name, counted.Applied, counted.Unknown, total-unknown, unknown)
	}
}

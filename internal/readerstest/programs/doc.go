// Package programs runs readers in Java and Python in tests: those of examples/readers,
// and others with the same libraries. What it starts dies with this process.
//
//	run := programs.New(t)                        // skips where the libraries are not there
//	reader, err := run.Readers(t)[0].Start(t.Context(), copy, topic, "--until-idle")
//	err = reader.Wait()
//	rows, counted := reader.Copy(t)
//
// Start with New. Who uses it calls Clean at the end of its TestMain.
package programs

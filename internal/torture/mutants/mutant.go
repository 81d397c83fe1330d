package mutants

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Mutant is a known bug and what is to catch it: Faults, and Checks or Halts; or
// Package and Test.
type Mutant struct {
	Name  string // of the file, without .patch
	Bug   string // a sentence
	Patch string // the file

	Faults string   // as torture.Options has them
	Checks []string // findings of any of these count as caught
	Halts  string   // the code with which the product itself stops because of the bug

	Package string // of the test, from the root: ./router
	Test    string // its name
	Servers bool   // it needs Postgres and Pulsar
}

// scenario names what is played for a mutant; mutants may share one.
func (m *Mutant) scenario() string {
	if m.Test != "" {
		return strings.TrimPrefix(m.Package, "./") + " " + m.Test
	}
	return m.Faults
}

// Load reads the mutants of a folder, in the order of their names.
func Load(dir string) ([]Mutant, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.patch"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s holds no patch", dir)
	}
	all := make([]Mutant, len(files))
	for i, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if all[i], err = parse(string(text)); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all[i].Name, all[i].Patch = strings.TrimSuffix(filepath.Base(file), ".patch"), file
	}
	return all, nil
}

// parse reads what stands before the diff.
func parse(text string) (m Mutant, err error) {
	head, _, ok := strings.Cut(text, "\ndiff --git ")
	if !ok {
		return m, errors.New("holds no diff")
	}
	bug, trailers, _ := strings.Cut(head, "\n\n")
	m.Bug = strings.Join(strings.Fields(bug), " ")
	for line := range strings.Lines(trailers) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch name {
		case "":
		case "Faults":
			m.Faults = value
		case "Checks":
			m.Checks = strings.Split(strings.ReplaceAll(value, " ", ""), ",")
		case "Halts":
			m.Halts = value
		case "Test":
			m.Package, m.Test, _ = strings.Cut(value, " ")
		case "Needs":
			if m.Servers = value == "servers"; !m.Servers {
				return m, fmt.Errorf("needs %q: there are only servers", value)
			}
		default:
			return m, fmt.Errorf("no trailer is called %q", name)
		}
	}
	byFaults := m.Faults != "" && (len(m.Checks) > 0) != (m.Halts != "") && !slices.Contains(m.Checks, "")
	byTest := m.Package != "" && m.Test != ""
	if m.Bug == "" || byFaults == byTest || byFaults != (m.Faults != "") || byTest && m.Halts != "" {
		return m, errors.New("want a sentence, and either the trailers Faults and Checks, or Faults and Halts, or Test: ./package TestName")
	}
	return m, nil
}

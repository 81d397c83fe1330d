package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/internal/doctor"
	"github.com/runnel-cdc/runnel/internal/fault"
)

// finding is one thing that a command found in a file. Every command that looks at
// files prints what it found in this one way.
type finding struct {
	Path     string `json:"path"` // of the file, as the user named its folder
	Line     int    `json:"line"` // from 1; 0 when it is about the whole file
	Col      int    `json:"col"`
	Rule     string `json:"rule"`     // of a rule, or the code of a fault
	Severity string `json:"severity"` // error, warning or note
	Subject  string `json:"subject"`  // the type, or type.field; "" for a file
	Message  string `json:"message"`
	Fix      string `json:"fix"`

	// Of a change between versions.
	Direction string   `json:"direction,omitempty"` // backward: the new one reads older data; forward: the other way round
	Against   []string `json:"against,omitempty"`   // the older versions that it is found against
}

const (
	severityError   = "error"
	severityWarning = "warning"
	severityNote    = "note" // what a waiver lets pass: it counts as neither, not even by --strict
)

// place is path:line:col, as much of it as is known.
func (f finding) place() string {
	if f.Line == 0 {
		return f.Path
	}
	return fmt.Sprintf("%s:%d:%d", f.Path, f.Line, f.Col)
}

// byPlace orders findings as files are read.
func byPlace(a, b finding) int {
	return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
}

// fileFindings makes findings of what is wrong with the files of a folder; all is
// false when err is about something else, too.
func fileFindings(dir string, err error) (found []finding, all bool) {
	root := filepath.ToSlash(filepath.Clean(dir)) // as wire names it
	for _, err := range flatten(err) {
		f := fault.Find(err)
		if f == nil || f.Where == "" || f.Where == root {
			return nil, false
		}
		r := describeOne(err)
		x := finding{Rule: r.Code, Severity: severityError, Message: r.Message, Fix: r.Remedy}
		x.Path, x.Line, x.Col = f.Place()
		found = append(found, x)
	}
	slices.SortStableFunc(found, byPlace)
	return found, true
}

// findingFlags say how findings are printed, and which of them fail the command.
type findingFlags struct {
	format string
	strict bool
}

func (f *findingFlags) add(cmd *cobra.Command) {
	f.format = "text"
	formats := []string{"text", "jsonl", "github"}
	cmd.Flags().Var(&choice{&f.format, formats}, "format", "`how` to print findings: text, jsonl or github (annotations of a workflow)")
	cmd.Flags().BoolVar(&f.strict, "strict", false, "let warnings count as errors do")
	completeFrom(cmd, "format", formats...)
}

// check refuses flags that contradict each other.
func (f *findingFlags) check(c *call) error {
	if c.output == "json" && c.cmd.Flags().Changed("format") {
		return ErrUsage.New("-o json and --format exclude each other").Fix("Give -o json for one envelope, or --format jsonl for a line each.")
	}
	return nil
}

// result is what a command that found these returns: an error when one of them
// counts as one.
func (f *findingFlags) result(found []finding) (any, error) {
	r := findings{Findings: append([]finding{}, found...), format: f.format}
	for _, x := range found {
		switch x.Severity {
		case severityError:
			r.Errors++
		case severityWarning:
			r.Warnings++
		default:
			r.Notes++
		}
	}
	switch {
	case r.Errors > 0:
		return r, ErrFindings.New("%s", doctor.Count(r.Errors, "error"))
	case f.strict && r.Warnings > 0:
		return r, ErrFindings.New("%s, which count by --strict", doctor.Count(r.Warnings, "warning"))
	}
	return r, nil
}

// findings is the result of a command that looks at files.
type findings struct {
	Findings []finding `json:"findings"`
	Errors   int       `json:"errors"`
	Warnings int       `json:"warnings"`
	Notes    int       `json:"notes"`

	format string
}

func (r findings) text(p *printer) {
	for _, f := range r.Findings {
		switch r.format {
		case "jsonl":
			p.line("%s", f.jsonLine())
		case "github":
			p.line("%s", f.annotation())
		default:
			f.text(p)
		}
	}
	if r.format == "text" {
		p.line("%s", r.counts())
	}
}

// counts is the line below the findings.
func (r findings) counts() string {
	text := doctor.Count(r.Errors, "error") + ", " + doctor.Count(r.Warnings, "warning")
	if r.Notes > 0 {
		text += ", " + doctor.Count(r.Notes, "note")
	}
	return text
}

// paints are the colours of rules; what is no error says so.
var paints = map[string]style{severityError: red, severityWarning: yellow, severityNote: green}

// text writes `path:line:col: RULE message`, and what to do below it.
func (f finding) text(p *printer) {
	note := ""
	if f.Severity != severityError {
		note = p.paint(faint, " ("+f.Severity+")")
	}
	if f.Path != "" {
		p.print("%s: ", clean(f.place()))
	}
	p.line("%s %s%s", p.paint(paints[f.Severity], f.Rule), clean(f.Message), note)
	p.remedy("  ", f.Fix)
}

// jsonLine is the finding as one line; & < > stay as they are.
func (f finding) jsonLine() string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(f) // of strings and numbers, into memory
	return strings.TrimSuffix(b.String(), "\n")
}

// annotation is a workflow command of GitHub Actions, which shows the finding at
// its line of a pull request.
func (f finding) annotation() string {
	var b strings.Builder
	command := f.Severity
	if command == severityNote {
		command = "notice"
	}
	fmt.Fprintf(&b, "::%s file=%s", command, githubProperty(f.Path))
	if f.Line > 0 {
		fmt.Fprintf(&b, ",line=%d,col=%d", f.Line, f.Col)
	}
	text := f.Message
	if f.Fix != "" {
		text += "\n" + f.Fix
	}
	fmt.Fprintf(&b, ",title=%s::%s", githubProperty(f.Rule), githubData(text))
	return b.String()
}

// A workflow command is one line: its data ends with it, and its properties end at
// a comma or a colon.
var (
	githubDataEscapes     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	githubPropertyEscapes = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

// Escaped first: what is written for control characters is then not taken for ours.
func githubData(text string) string     { return clean(githubDataEscapes.Replace(text)) }
func githubProperty(text string) string { return clean(githubPropertyEscapes.Replace(text)) }

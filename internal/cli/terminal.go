package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// style is a colour of text.
type style string

const (
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	faint  style = "2"
	bold   style = "1"
)

// printer writes text for people. After the first error it writes nothing; err
// keeps it.
type printer struct {
	w     io.Writer
	color bool
	ascii bool
	err   error
}

func newPrinter(a *app, w io.Writer) *printer {
	return &printer{w: w, color: a.colored(w), ascii: a.ascii()}
}

// colored decides by --color, then NO_COLOR (https://no-color.org), then
// whether w is a terminal that can.
func (a *app) colored(w io.Writer) bool {
	switch {
	case a.color == "always":
		return true
	case a.color == "never", a.getenv("NO_COLOR") != "", a.getenv("TERM") == "dumb":
		return false
	}
	return isTerminal(w)
}

func isTerminal(w any) bool {
	f := file(w)
	return f != nil && term.IsTerminal(int(f.Fd()))
}

// ascii reports whether the locale says anything else than UTF-8.
func (a *app) ascii() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(a.getenv(name)); v != "" {
			return !strings.Contains(v, "utf-8") && !strings.Contains(v, "utf8")
		}
	}
	return true
}

func (p *printer) print(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func (p *printer) line(format string, args ...any) { p.print(format+"\n", args...) }

func (p *printer) paint(s style, text string) string {
	if !p.color || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// sign returns fancy, or plain where the locale has no such character.
func (p *printer) sign(fancy, plain string) string {
	if p.ascii {
		return plain
	}
	return fancy
}

// remedy writes what to do, further lines aligned below the first.
func (p *printer) remedy(indent, text string) {
	if text == "" {
		return
	}
	first := indent + p.sign("→", "->") + " "
	rest := indent + strings.Repeat(" ", utf8.RuneCountInString(first)-len(indent))
	for i, l := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		prefix := rest
		if i == 0 {
			prefix = first
		}
		p.line("%s", strings.TrimRight(prefix+clean(l), " "))
	}
}

// table writes rows with aligned columns; the first row may be a heading.
// Cells must not be painted, for their width counts; paintCell does that.
func (p *printer) table(rows [][]string, paintCell func(row, column int, text string) string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for r, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			shown := cell
			if paintCell != nil {
				shown = paintCell(r, i, cell)
			}
			b.WriteString(shown)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		p.line("%s", strings.TrimRight(b.String(), " "))
	}
}

// clean makes foreign text safe for a terminal: control characters, which
// could rewrite the screen, are written as escapes.
func clean(text string) string {
	if strings.IndexFunc(text, unsafe) < 0 && utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(text, string(utf8.RuneError)) {
		if unsafe(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func unsafe(r rune) bool {
	return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r))
}

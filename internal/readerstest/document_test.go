package readerstest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const document = "../../docs/messages.md"

// The code in docs/messages.md stands, line for line, in the reader that is
// linked before it.
func TestDocumentShowsTheReaders(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\((\.\./examples/readers/[^)]+\.(?:java|py))\)`)
	var source, language string
	var block strings.Builder
	shown := map[string]int{}
	for line := range strings.Lines(string(text)) {
		fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && language == "":
			language = fence
			block.Reset()
		case isFence:
			if language == "java" || language == "python" {
				shown[language]++
				code, err := os.ReadFile(filepath.Join(filepath.Dir(document), source))
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(string(code), block.String()) {
					t.Errorf("%s does not hold\n%s", source, &block)
				}
			}
			language = ""
		case language != "":
			block.WriteString(line)
		default:
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				source = m[1]
			}
		}
	}
	if shown["java"] == 0 || shown["python"] == 0 {
		t.Errorf("blocks by language: %v", shown)
	}
}

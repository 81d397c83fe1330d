package cli

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// A workflow command is one line, whatever the names and messages hold.
func TestAnnotation(t *testing.T) {
	for _, tc := range []struct {
		f    finding
		want string
	}{
		{finding{Path: "schemas/A.avsc", Line: 3, Col: 5, Rule: "SOME_RULE", Severity: "error", Message: "A.b is wrong", Fix: "Mend it."},
			"::error file=schemas/A.avsc,line=3,col=5,title=SOME_RULE::A.b is wrong%0AMend it."},
		{finding{Path: "schemas/A.avsc", Rule: "SOME_RULE", Severity: "warning", Message: "unreadable"},
			"::warning file=schemas/A.avsc,title=SOME_RULE::unreadable"},
		{finding{Path: "schemas/A.avsc", Line: 3, Col: 5, Rule: "R", Severity: "note", Message: "waived"},
			"::notice file=schemas/A.avsc,line=3,col=5,title=R::waived"},
		{finding{Path: "a,b:c%\r\n.avsc", Line: 1, Col: 1, Rule: "R", Severity: "error", Message: "50%: a, b::c\r\nd", Fix: "1\n2"},
			"::error file=a%2Cb%3Ac%25%0D%0A.avsc,line=1,col=1,title=R::50%25: a, b::c%0D%0Ad%0A1%0A2"},
		{finding{Path: "é.avsc", Line: 1, Col: 1, Rule: "R", Severity: "error", Message: "\x1b[31m\u2028%0A"},
			`::error file=é.avsc,line=1,col=1,title=R::\u001b[31m` + "\u2028%250A"},
	} {
		got := tc.f.annotation()
		if got != tc.want || strings.ContainsAny(got, "\r\n") {
			t.Errorf("%q\nwant %q", got, tc.want)
		}
	}
}

// A line of JSON is one line, and says what the finding says.
func TestJSONLine(t *testing.T) {
	f := finding{Path: "a\n<b>.avsc", Line: 3, Col: 5, Rule: "R", Severity: "warning", Subject: "A.b", Message: "a & b", Fix: "1\n2"}
	var back finding
	if err := json.Unmarshal([]byte(f.jsonLine()), &back); err != nil || !reflect.DeepEqual(back, f) {
		t.Errorf("%+v, %v", back, err)
	}
	if strings.Contains(f.jsonLine(), "\n") || !strings.Contains(f.jsonLine(), "<b>") {
		t.Error(f.jsonLine())
	}
}

func TestFindingText(t *testing.T) {
	f := finding{Path: "a\x1b.avsc", Line: 3, Col: 5, Rule: "R", Severity: "warning", Message: "A\x07 is wrong", Fix: "Do:\nthis."}
	if got, want := textOf(f.text), "a\\u001b.avsc:3:5: R A\\u0007 is wrong (warning)\n  → Do:\n    this.\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	f = finding{Rule: "R", Severity: "note", Message: "waived"}
	if got := textOf(f.text); got != "R waived (note)\n" {
		t.Errorf("%q", got)
	}
	f = finding{Rule: "R", Severity: "error", Message: "wrong"}
	if got := textOf(f.text); got != "R wrong\n" {
		t.Errorf("%q", got)
	}
}

// Errors fail the command; warnings do if they are to count; notes never do.
func TestFindingsFail(t *testing.T) {
	note, warning, bad := finding{Severity: severityNote}, finding{Severity: severityWarning}, finding{Severity: severityError}
	for _, tc := range []struct {
		found  []finding
		strict bool
		fails  bool
	}{
		{nil, true, false}, {[]finding{warning}, false, false}, {[]finding{warning}, true, true}, {[]finding{warning, bad}, false, true},
		{[]finding{note}, true, false}, {[]finding{note, warning}, true, true},
	} {
		f := findingFlags{format: "text", strict: tc.strict}
		r, err := f.result(tc.found)
		if errors.Is(err, ErrFindings) != tc.fails || len(r.(findings).Findings) != len(tc.found) {
			t.Errorf("%+v: %+v, %v", tc, r, err)
		}
	}
	r, _ := (&findingFlags{format: "text"}).result([]finding{note, warning, bad, note})
	if got := r.(findings).counts(); got != "1 error, 1 warning, 2 notes" {
		t.Error(got)
	}
}

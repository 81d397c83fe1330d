package cli

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// A role that may not apply is told so, and what to do.
func TestApplyAsAnotherRole(t *testing.T) {
	db := pgtest.New(t)
	l := newLive(t, db)
	l.must("init")
	var p planResult
	l.result(&p, "schemas", "plan")
	const password = "of-a-test" // of roles that end with the test
	writer := db.Role("writer")
	db.Exec(t, `alter role "`+writer+`" login password '`+password+`'`)
	for name, url := range map[string]string{"the writer": db.URLAs(writer, password), "nobody": db.CreateRole(t, "nobody")} {
		t.Log(name)
		l.refuses(3, []string{"PG_GRANT", "permission denied", "GRANT runnel_daemon TO"}, "schemas", "apply", "--plan", p.Hash, "--postgres", url)
	}
	// One that may look at all there is, and no more.
	auditor := db.CreateRole(t, "auditor")
	db.Exec(t, `grant usage on schema runnel to "`+db.Role("auditor")+`"; grant select on all tables in schema runnel to "`+db.Role("auditor")+`"`)
	l.refuses(0, []string{p.Hash}, "schemas", "plan", "--postgres", auditor)
	l.refuses(3, []string{"PG_GRANT apply the plan: note the plan: ", "permission denied for table schema_plan", "Apply as the daemon's role"}, "schemas", "apply", "--plan", p.Hash, "--postgres", auditor)
	l.must("schemas", "apply", "--plan", p.Hash)
}

// untilWritten ends a context with the first line that is written.
type untilWritten struct {
	strings.Builder
	end func()
}

func (w *untilWritten) Write(b []byte) (int, error) {
	w.end()
	return w.Builder.Write(b)
}

// Each step is printed when it is done: an apply that is ended has said what it did.
func TestApplyPrintsAsItGoes(t *testing.T) {
	l := newLive(t, pgtest.New(t))
	l.must("init")
	var p, left planResult
	l.result(&p, "schemas", "plan")
	ctx, end := context.WithCancelCause(t.Context())
	stdout := untilWritten{end: func() { end(interrupted{15}) }}
	var stderr strings.Builder
	a := &app{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, environ: l.environ, deps: realDeps()}
	if code := a.main(ctx, []string{"schemas", "apply", "--plan", p.Hash}); code != 128+15 {
		t.Errorf("exit code %d, %s", code, stderr.String())
	}
	done := textOf(func(printer *printer) { printStep(printer, p.Steps[0]) })
	if want := fmt.Sprintf("1 step, %d left: apply the same plan again to go on\n", len(p.Steps)-1); stdout.String() != done+want {
		t.Errorf("printed\n%swant\n%s%s", stdout.String(), done, want)
	}
	if l.result(&left, "schemas", "plan"); len(left.Steps) != len(p.Steps)-1 {
		t.Errorf("left to do: %+v", left.Steps)
	}
	l.refuses(0, []string{"The plan " + p.Hash + ", begun by "}, "schemas", "plan")
	text := l.must("schemas", "apply", "--plan", p.Hash)
	if lines := strings.Split(text, "\n"); !strings.Contains(lines[0], string(left.Steps[0].Kind)) || !strings.HasSuffix(text, fmt.Sprintf("plan %s is carried out: %d steps\n", p.Hash, len(left.Steps))) {
		t.Error(text)
	}
	var r applyResult
	if l.result(&r, "schemas", "apply", "--plan", p.Hash); r.Hash != p.Hash || len(r.Done) != 0 {
		t.Errorf("%+v", r)
	}
	if text := l.must("schemas", "plan"); strings.Contains(text, p.Hash) {
		t.Error(text)
	}
}

package securestack_test

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// document is docs/security.md. What it tells a reader to write or to run, the
// test writes and runs, with the names of this stack in the place of its own.
type document struct {
	t    *testing.T
	text string
}

func security(t *testing.T) document {
	t.Helper()
	text, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	return document{t, string(text)}
}

// block returns the one fenced block in a language that holds a text.
func (d document) block(language, holds string) string {
	d.t.Helper()
	var found []string
	for _, m := range regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$").FindAllStringSubmatch(d.text, -1) {
		if m[1] == language && strings.Contains(m[2], holds) {
			found = append(found, m[2])
		}
	}
	if len(found) != 1 {
		d.t.Fatalf("docs/security.md has %d blocks in %q with %q, want 1", len(found), language, holds)
	}
	return found[0]
}

// replaced puts this stack's names in the place of the document's, each of which
// the text must hold.
func (d document) replaced(text string, names ...string) string {
	d.t.Helper()
	for i := 0; i < len(names); i += 2 {
		if !strings.Contains(text, names[i]) {
			d.t.Fatalf("docs/security.md does not say %q in\n%s", names[i], text)
		}
		text = strings.ReplaceAll(text, names[i], names[i+1])
	}
	return text
}

// daemonSettings are runnel.yaml for the daemon: what the document shows, with
// the password in a file.
func (d document) daemonSettings(db *pgtest.DB, role, password, token string) string {
	d.t.Helper()
	source, err := url.Parse(db.URLAs(role))
	if err != nil {
		d.t.Fatal(err)
	}
	return d.replaced(d.block("yaml", "password_file:")+d.block("yaml", "token_file:"),
		"runnel_daemon@db.example/shop", source.User.String()+"@"+source.Host+source.Path,
		"/etc/runnel/ca.pem", stack.CAFile(),
		"/etc/runnel/postgres-password", password,
		"pulsar+ssl://pulsar.example:6651", stack.PulsarURL,
		"https://pulsar.example:8443", stack.PulsarAdminURL,
		"/etc/runnel/pulsar-token", token)
}

// provision runs the commands of pulsar-admin with the program of Pulsar's
// distribution, as the superuser.
func (d document) provision(p *program, superuser string) {
	d.t.Helper()
	home, err := devstack.PulsarHome()
	if err != nil {
		d.t.Fatal(err)
	}
	conf := p.write("client.conf", d.replaced(d.block("", "webServiceUrl="),
		"https://pulsar.example:8443", stack.PulsarAdminURL,
		"/secure/admin-token", superuser,
		"/etc/runnel/ca.pem", stack.CAFile()))
	script := exec.CommandContext(d.t.Context(), "bash", "-ec", d.block("sh", "pulsar-admin tenants create"))
	script.Env = append(p.env, "PATH="+filepath.Join(home, "bin")+":"+os.Getenv("PATH"), "PULSAR_CLIENT_CONF="+conf,
		"PULSAR_LOG_DIR="+p.dir, "PULSAR_MEM=-Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
	out, err := script.CombinedOutput()
	_, _ = fmt.Fprintf(&written, "%s\n", out)
	if err != nil {
		d.t.Fatalf("%v\n%s", err, out)
	}
}

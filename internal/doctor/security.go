package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/wire"
)

var securityChecks = []Check{
	{Name: "secret-files", About: "files with secrets are closed to other users", Run: checkSecretFiles},
	{Name: "encryption", About: "what leaves this machine is encrypted, and the other side is verified", Needs: []string{"postgres"}, Run: checkEncryption},
	{Name: "broker-grants", About: "the token's role may do what the daemon's duty needs", Needs: []string{"pulsar-admin"}, Run: checkBrokerGrants},
}

func checkSecretFiles(_ context.Context, s *Session) (string, error) {
	files := []string{s.cfg.Postgres.PasswordFile, clientKey(s.cfg.Postgres.URL), s.cfg.Pulsar.TokenFile}
	files = slices.DeleteFunc(files, func(f string) bool { return f == "" })
	if len(files) == 0 {
		return "", skipped{"no file with a secret is configured"}
	}
	var open []string
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return "", config.ErrSecretFile.Wrap(err, "look at it").At("%s", f)
		}
		if isOpen(info.Mode()) {
			open = append(open, f)
		}
	}
	if len(open) > 0 {
		return "", warning{ErrSecretOpen.New("every user of this machine can get at %s", strings.Join(open, ", ")).
			Fix("Run `chmod o= %s`, as the files' owner.", strings.Join(open, " "))}
	}
	return strings.Join(files, ", "), nil
}

// isOpen reports whether others than owner and group may read or write. A group
// is how secrets reach containers, so it is let pass.
func isOpen(mode fs.FileMode) bool { return mode.Perm()&0o006 != 0 }

// clientKey returns the file with the key of the client's certificate, "" if the
// address names none.
func clientKey(address string) string {
	if u, err := url.Parse(address); err == nil && u.Query().Get("sslkey") != "" {
		return u.Query().Get("sslkey")
	}
	return os.Getenv("PGSSLKEY")
}

// unprotected is one finding of the check encryption.
type unprotected struct{ what, fix string }

func checkEncryption(_ context.Context, s *Session) (string, error) {
	c := s.pg.Config()
	return judgeConnections(c.Host, c.TLSConfig, s.cfg.Pulsar)
}

// judgeConnections looks at all three, for one finding must not hide another.
func judgeConnections(host string, c *tls.Config, p config.Pulsar) (string, error) {
	saw, all := judgeEncryption(host, c)
	all = slices.Concat(all, judgeAddress("pulsar.url", p.URL, p.TokenFile != ""), judgeAddress("pulsar.admin_url", p.AdminURL, p.TokenFile != ""))
	if len(all) == 0 {
		return saw, nil
	}
	var what, fix []string
	for _, u := range all {
		what = append(what, u.what)
		if !slices.Contains(fix, u.fix) {
			fix = append(fix, u.fix)
		}
	}
	return "", warning{ErrUnprotected.New("%s", strings.Join(what, "; ")).Fix("%s", strings.Join(fix, "\n"))}
}

// judgeEncryption looks at the connection to Postgres: the events' content and
// the proof of the password pass over it.
func judgeEncryption(host string, c *tls.Config) (saw string, found []unprotected) {
	var what string
	switch {
	case isLocal(host):
		return "the database is on this machine", nil
	case c == nil:
		what = fmt.Sprintf("the connection to the database at %s is not encrypted", host)
	case c.InsecureSkipVerify && c.VerifyPeerCertificate == nil:
		what = fmt.Sprintf("whether the database at %s is the right one is not verified", host)
	case c.InsecureSkipVerify: // verify-ca
		what = fmt.Sprintf("the database's certificate is verified, but not that it is that of %s", host)
	default:
		return "the database at " + host + " is verified", nil
	}
	return "", []unprotected{{what, "Write ?sslmode=verify-full&sslrootcert=FILE into postgres.url, with the server's authority in FILE."}}
}

// judgeAddress looks at one of the broker's, which may name several hosts.
func judgeAddress(key, address string, token bool) (found []unprotected) {
	scheme, rest, _ := strings.Cut(address, "://")
	if strings.HasSuffix(scheme, "s") || strings.HasSuffix(scheme, "+ssl") {
		return nil
	}
	what := "events pass"
	if token {
		what = "the token and events pass"
	}
	for host := range strings.SplitSeq(rest, ",") {
		u, err := url.Parse("x://" + host)
		if err != nil || isLocal(u.Hostname()) {
			continue
		}
		found = append(found, unprotected{
			fmt.Sprintf("%s: %s to %s unencrypted", key, what, u.Host),
			"Use the broker's ports with TLS: pulsar+ssl:// (6651) and https:// (8443), with pulsar.ca_file.",
		})
	}
	return found
}

// isLocal reports whether a host is this machine; "" and paths are sockets.
func isLocal(host string) bool {
	if host == "" || host == "localhost" || strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") {
		return true
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback()
}

// checkBrokerGrants looks what the token's role may do. Less than the daemon needs
// is a failure; what it may beyond that is said.
func checkBrokerGrants(ctx context.Context, s *Session) (string, error) {
	namespace := s.cfg.Topics.Namespace
	var topics []string
	if s.catalog == nil && s.cfg.Schemas != "" { // when only this check was asked for
		s.catalog, _ = wire.Catalog(s.cfg.Schemas) // without one: the topics that are there
	}
	var err error
	if s.catalog != nil {
		if topics, _, err = topicsOf(s); err != nil {
			return "", err
		}
		topics = append(topics, historyTopic(s))
	}
	g := grants{namespace: namespace, may: map[broker.Duty]broker.Answer{}}
	g.id, g.known = s.pulsar.Identity()
	if g.may[broker.Provision], err = s.pulsar.May(ctx, broker.Provision, namespace, nil); err != nil {
		return "", err
	}
	if g.lacks(broker.Provision) == nil { // may do everything in its tenant
		return g.judge()
	}
	for _, d := range []broker.Duty{broker.Consume, broker.Publish} {
		g.may[d], err = s.pulsar.May(ctx, d, namespace, topics)
		switch {
		case errors.Is(err, broker.ErrTopicMissing):
			return "", warning{broker.ErrTopicMissing.New("what the token's role may do shows once a topic is there").At("%s", namespace).
				Fix("%s", grantText(namespace, g.id.Subject))}
		case err != nil:
			return "", err
		}
	}
	return g.judge()
}

// grants is what the token's role may, as far as it was asked.
type grants struct {
	namespace string
	id        broker.Identity
	known     bool // there is a token
	may       map[broker.Duty]broker.Answer
}

// lacks returns where the role may not do a duty.
func (g grants) lacks(d broker.Duty) []string { return g.may[d].MayNot }

func (g grants) judge() (string, error) {
	who := "who shows no token"
	if g.known {
		who = fmt.Sprintf("role %q", g.id.Subject)
	}
	if !g.id.Expires.IsZero() {
		who += " (until " + g.id.Expires.UTC().Format(time.RFC3339) + ")"
	}
	var may, not []string
	for _, d := range broker.Duties {
		switch a := g.may[d]; {
		case len(a.MayNot) == 0:
			may = append(may, string(d))
		case len(a.May) > 0: // not everywhere
			not = append(not, string(d)+" ("+strings.Join(a.MayNot, ", ")+")")
		default:
			not = append(not, string(d))
		}
	}
	said := who + " may"
	if len(may) > 0 {
		said += " " + strings.Join(may, ", ")
	}
	if len(not) > 0 {
		said += " not " + strings.Join(not, ", ")
	}
	if g.lacks(broker.Consume) == nil && g.lacks(broker.Publish) == nil {
		return said, nil
	}
	fix := grantText(g.namespace, g.id.Subject)
	if some := g.may[broker.Publish]; len(some.May) > 0 && len(some.MayNot) > 0 {
		fix += "\n  # or, where publish is granted on topics, on those that lack it:"
		for _, topic := range some.MayNot {
			fix += "\n  " + broker.GrantOnTopic(topic, cmp.Or(g.id.Subject, "ROLE"))
		}
	}
	return "", broker.ErrForbidden.New("%s", said).At("%s", g.namespace).Fix("%s", fix)
}

// grantText is what each duty takes, as commands to copy. The role is the
// daemon's.
func grantText(namespace, role string) string {
	var b strings.Builder
	b.WriteString("As the tenant's administrator or a superuser, each for the role (the subject) of its token:")
	for _, duty := range []struct {
		broker.Duty
		of, role string
	}{
		{broker.Publish, "the daemon", cmp.Or(role, "ROLE")},
		{broker.Consume, "a projection, `runnel tail`", "ROLE"},
		{broker.Provision, "`runnel schemas apply`, `runnel run --auto-apply`", "ROLE"},
	} {
		g := broker.GrantFor(duty.Duty, namespace, duty.role)
		fmt.Fprintf(&b, "\n  # %s: %s\n  %s\n  # or %s", duty.of, g.Needs, g.Admin, g.REST)
	}
	return b.String()
}

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

func checkEncryption(_ context.Context, s *Session) (string, error) {
	c := s.pg.Config()
	saw, err := judgeEncryption(c.Host, c.TLSConfig)
	if err != nil {
		return "", err
	}
	for key, address := range map[string]string{"pulsar.url": s.cfg.Pulsar.URL, "pulsar.admin_url": s.cfg.Pulsar.AdminURL} {
		if err := judgeAddress(key, address, s.cfg.Pulsar.TokenFile != ""); err != nil {
			return "", err
		}
	}
	return saw, nil
}

// judgeEncryption looks at the connection to Postgres: the events' content and
// the proof of the password pass over it.
func judgeEncryption(host string, c *tls.Config) (string, error) {
	fix := "Write ?sslmode=verify-full&sslrootcert=FILE into postgres.url, with the server's authority in FILE."
	switch {
	case isLocal(host):
		return "the database is on this machine", nil
	case c == nil:
		return "", warning{ErrUnprotected.New("the connection to the database at %s is not encrypted", host).Fix("%s", fix)}
	case c.InsecureSkipVerify && c.VerifyPeerCertificate == nil:
		return "", warning{ErrUnprotected.New("whether the database at %s is the right one is not verified", host).Fix("%s", fix)}
	case c.InsecureSkipVerify: // verify-ca
		return "", warning{ErrUnprotected.New("the database's certificate is verified, but not that it is that of %s", host).Fix("%s", fix)}
	}
	return "the database at " + host + " is verified", nil
}

// judgeAddress looks at one of the broker's.
func judgeAddress(key, address string, token bool) error {
	scheme, rest, _ := strings.Cut(address, "://")
	if strings.HasSuffix(scheme, "s") || strings.HasSuffix(scheme, "+ssl") {
		return nil
	}
	for host := range strings.SplitSeq(rest, ",") {
		u, err := url.Parse("x://" + host)
		if err != nil || isLocal(u.Hostname()) {
			continue
		}
		what := "events"
		if token {
			what = "the token and events"
		}
		return warning{ErrUnprotected.New("%s: %s pass to %s unencrypted", key, what, u.Host).
			Fix("Use the broker's ports with TLS: pulsar+ssl:// (6651) and https:// (8443), with pulsar.ca_file.")}
	}
	return nil
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
	if s.catalog != nil {
		var err error
		if topics, _, err = topicsOf(s); err != nil {
			return "", err
		}
	}
	id, known := s.pulsar.Identity()
	provision, err := s.pulsar.May(ctx, broker.Provision, namespace, nil)
	if err != nil {
		return "", err
	}
	if provision { // may do everything in its tenant
		return judgeGrants(namespace, id, known, broker.Duties)
	}
	var may []broker.Duty
	for _, d := range []broker.Duty{broker.Consume, broker.Publish} {
		ok, err := s.pulsar.May(ctx, d, namespace, topics)
		switch {
		case errors.Is(err, broker.ErrTopicMissing):
			return "", warning{broker.ErrTopicMissing.New("what the token's role may do shows once a topic is there").At("%s", namespace).
				Fix("%s", grantText(namespace, id.Subject))}
		case err != nil:
			return "", err
		case ok:
			may = append(may, d)
		}
	}
	return judgeGrants(namespace, id, known, may)
}

func judgeGrants(namespace string, id broker.Identity, known bool, may []broker.Duty) (string, error) {
	who := "who shows no token"
	if known {
		who = fmt.Sprintf("role %q", id.Subject)
	}
	if !id.Expires.IsZero() {
		who += " (until " + id.Expires.UTC().Format(time.RFC3339) + ")"
	}
	missing := slices.DeleteFunc(slices.Clone(broker.Duties), func(d broker.Duty) bool { return slices.Contains(may, d) })
	said := who + " may"
	if len(may) > 0 {
		said += " " + list(may)
	}
	if len(missing) > 0 {
		said += " not " + list(missing)
	}
	if !slices.Contains(missing, broker.Consume) && !slices.Contains(missing, broker.Publish) {
		return said, nil
	}
	return "", broker.ErrForbidden.New("%s", said).At("%s", namespace).Fix("%s", grantText(namespace, id.Subject))
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
		{broker.Provision, "`runnel run --auto-apply`", "ROLE"},
	} {
		g := broker.GrantFor(duty.Duty, namespace, duty.role)
		fmt.Fprintf(&b, "\n  # %s: %s\n  %s\n  # or %s", duty.of, g.Needs, g.Admin, g.REST)
	}
	return b.String()
}

func list(duties []broker.Duty) string {
	words := make([]string, len(duties))
	for i, d := range duties {
		words[i] = string(d)
	}
	return strings.Join(words, ", ")
}

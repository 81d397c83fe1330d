package config

import (
	"net/url"
	"os"
	"regexp"
	"strings"
)

// Hidden replaces a secret in what is shown.
const Hidden = "xxxxx"

// PostgresURL returns the connection string with the password in it. The
// password's file is read anew each time, so that a changed one is used.
func (c *Config) PostgresURL() (string, error) {
	password := c.Postgres.Password
	if c.Postgres.PasswordFile != "" {
		var err error
		if password, err = readSecret("postgres.password_file", c.Postgres.PasswordFile); err != nil {
			return "", err
		}
	}
	if password == "" {
		return c.Postgres.URL, nil
	}
	if !strings.HasPrefix(c.Postgres.URL, "postgres://") && !strings.HasPrefix(c.Postgres.URL, "postgresql://") {
		quoted := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password)
		return c.Postgres.URL + " password='" + quoted + "'", nil
	}
	// At the end of the query, which counts before the user's part and of which
	// the last value counts. Spaces as %20: + means itself there.
	separator := "?"
	if strings.Contains(c.Postgres.URL, "?") {
		separator = "&"
	}
	escaped := strings.ReplaceAll(url.QueryEscape(password), "+", "%20")
	return c.Postgres.URL + separator + "password=" + escaped, nil
}

func readSecret(key, file string) (string, error) {
	src, err := os.ReadFile(file)
	if err != nil {
		return "", ErrSecretFile.Wrap(err, "%s", key).At("%s", file)
	}
	secret := strings.TrimRight(string(src), "\r\n")
	if secret == "" {
		return "", ErrSecretFile.New("%s: the file is empty", key).At("%s", file)
	}
	return secret, nil
}

var (
	// userinfo is greedy: a password may hold an unescaped @ or /.
	userinfo = regexp.MustCompile(`^([A-Za-z0-9+.-]+://[^:/@?]*:)(.*)@`)
	keyword  = regexp.MustCompile(`(?i)((?:password|token|secret)[a-z_]*\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s&]*)`)
)

// redactURL hides the passwords in a connection string of any form.
func redactURL(text string) string {
	text = userinfo.ReplaceAllString(text, "${1}"+Hidden+"@")
	return keyword.ReplaceAllString(text, "${1}"+Hidden)
}

// exposed warns of a password where others can read it.
func (c *Config) exposed() []string {
	if redactURL(c.Postgres.URL) == c.Postgres.URL {
		return nil
	}
	const instead = "; give it by postgres.password_file, RUNNEL_POSTGRES_PASSWORD or RUNNEL_POSTGRES_URL"
	switch c.origins["postgres.url"].Kind {
	case "flag":
		return []string{"the password in --postgres stands in the list of this machine's processes" + instead}
	case "file":
		return []string{"the password in postgres.url stands in the configuration file" + instead}
	}
	return nil
}

// Redact hides the passwords in a connection URL or keyword/value string.
func Redact(url string) string { return redactURL(url) }

func redactAll(text string) string {
	if text == "" {
		return ""
	}
	return Hidden
}

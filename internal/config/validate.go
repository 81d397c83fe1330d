package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pgfault"
)

// The names that Postgres and Pulsar accept. A slot's name has at most 63
// characters; runnel_ takes seven of them.
var (
	nameRule      = regexp.MustCompile(`^[a-z0-9_]{1,56}$`)
	slotRule      = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)
	namespaceRule = regexp.MustCompile(`^[A-Za-z0-9_=:.-]+/[A-Za-z0-9_=:.-]+$`)
	globRule      = regexp.MustCompile(`^[A-Za-z0-9_.*?:=^\[\]-]{1,255}$`)
	topicRule     = regexp.MustCompile(`^[A-Za-z0-9_=:.-]{1,200}$`)
	partitionRule = regexp.MustCompile(`-partition-[0-9]+$`)
)

// validate checks what a value's type does not, and completes the defaults
// that depend on other values.
func (c *Config) validate() []error {
	var errs []error
	check := func(key string, err error) {
		if _, reported := c.refused[key]; err != nil && !reported {
			c.refuse(key, findSetting(key).field(c).String(), ErrValue)
			errs = append(errs, ErrValue.New("%s: %s", key, err).At("%s", c.origins[key].At))
		}
	}
	database, err := checkPostgres(c.Postgres.URL)
	check("postgres.url", err)
	check("pulsar.url", checkURL(c.Pulsar.URL, "pulsar", "pulsar+ssl"))
	check("pulsar.admin_url", checkURL(c.Pulsar.AdminURL, "http", "https"))

	if c.Name == "" && database != "" {
		c.Name = nameFrom(database)
	}
	if c.Name != "" && !nameRule.MatchString(c.Name) {
		check("name", fmt.Errorf("want 1 to 56 lower-case letters, digits and _, found %.100q", c.Name))
	} else if c.Name != "" && c.Capture.Slot == "" {
		c.Capture.Slot = "runnel_" + c.Name
	}
	if c.Capture.Slot != "" && !slotRule.MatchString(c.Capture.Slot) {
		check("capture.slot", fmt.Errorf("want 1 to 63 lower-case letters, digits and _, found %.100q", c.Capture.Slot))
	}
	if !namespaceRule.MatchString(c.Topics.Namespace) {
		check("topics.namespace", fmt.Errorf("want tenant/namespace, found %.100q", c.Topics.Namespace))
	}
	check("http", checkHTTP(c.HTTP))
	check("postgres.password", exclusive(c.Postgres.Password, c.Postgres.PasswordFile, "postgres.password_file"))
	return errs
}

// refuse notes for Entries that a value does not hold.
func (c *Config) refuse(key, text string, code *fault.Code) { c.refused[key] = refusal{text, code.ID} }

// checkPostgres returns the name of the database. Its errors hold no secret.
func checkPostgres(url string) (database string, err error) {
	if url == "" {
		return "", nil
	}
	cfg, err := pgconn.ParseConfig(url)
	if err != nil {
		var missing *fs.PathError
		if errors.As(err, &missing) { // a certificate
			return "", fmt.Errorf("cannot read a file that it names: %s: %w", missing.Path, missing.Err)
		}
		if cause := pgfault.Certificates(err); cause != nil {
			return "", fmt.Errorf("cannot use the certificates that it names: %w", cause)
		}
		if strings.Contains(url, "://") {
			return "", errors.New("want a URL such as postgres://user@host:5432/database?sslmode=verify-full")
		}
		return "", errors.New("want a connection URL or keyword=value pairs such as host=db user=me dbname=shop")
	}
	if cfg.Database == "" {
		return cfg.User, nil // what the server does
	}
	return cfg.Database, nil
}

func checkURL(text string, schemes ...string) error {
	if text == "" {
		return nil
	}
	first, _, _ := strings.Cut(text, ",") // of several hosts
	u, err := url.Parse(first)
	if err == nil && u.Host != "" {
		for _, s := range schemes {
			if u.Scheme == s {
				return nil
			}
		}
	}
	return fmt.Errorf("want a URL that begins with %s://, found %.200q", strings.Join(schemes, ":// or "), redactURL(text))
}

// checkHTTP refuses an empty host, which would silently mean every interface:
// anything but loopback must be written out.
func checkHTTP(addr string) error {
	if addr == HTTPOff || addr == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("want host:port, or off, found %.100q", addr)
	}
	if host == "" {
		return fmt.Errorf("want the host written out, such as 127.0.0.1:%s for this machine only or 0.0.0.0:%s for every interface", port, port)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("want a port from 0 to 65535, found %.20q", port)
	}
	return nil
}

func exclusive(secret, file, key string) error {
	if secret != "" && file != "" {
		return fmt.Errorf("given both here and by %s; remove one", key)
	}
	return nil
}

func checkRoute(r Route) error {
	switch {
	case r.Topic == "":
		return errors.New("topic is missing")
	case !topicRule.MatchString(r.Topic) || partitionRule.MatchString(r.Topic):
		return fmt.Errorf("topic: want the local name of a topic, found %.100q", r.Topic)
	case !isGlob(r.Aggregate):
		return fmt.Errorf("aggregate: want a name with * ? and [a-z], found %.100q", r.Aggregate)
	case !isGlob(r.Type):
		return fmt.Errorf("type: want a name with * ? and [a-z], found %.100q", r.Type)
	}
	return nil
}

func isGlob(text string) bool {
	_, err := path.Match(text, "")
	return err == nil && globRule.MatchString(text)
}

// nameFrom makes a pipeline's name of a database's: the same, with what a slot
// cannot hold replaced by _, and cut to what it can.
func nameFrom(database string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '_'
	}, database)
	return name[:min(len(name), 56)]
}

// Need returns a fault for the keys among those given that have no value.
func (c *Config) Need(keys ...string) error {
	var errs []error
	for _, key := range keys {
		s := findSetting(key)
		if s.field(c).String() != "" {
			continue
		}
		e := ErrMissing.New("%s is not set", key)
		if s.flag != "" {
			e = e.Fix("Give --%s, set %s, or write %s into %s.", s.flag, s.env(), key, DefaultFile)
		} else {
			e = e.Fix("Set %s, or write %s into %s.", s.env(), key, DefaultFile)
		}
		errs = append(errs, error(e))
	}
	return errors.Join(errs...)
}

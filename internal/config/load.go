package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/nearest"
	"github.com/runnel-cdc/runnel/internal/strictyaml"
)

// DefaultFile is read when it exists and no other file is named.
const DefaultFile = "runnel.yaml"

// Options are the sources of a configuration.
type Options struct {
	// File is the configuration file; "" means RUNNEL_CONFIG and, without that,
	// DefaultFile if it exists.
	File string
	// Flags holds the values of flags that were given, by flag name.
	Flags map[string]string
	// Environ is the environment as os.Environ returns it.
	Environ []string
}

// Flags are the names of the flags that carry configuration, by key.
func Flags() map[string]string {
	flags := map[string]string{}
	for _, s := range settings {
		if s.flag != "" {
			flags[s.key] = s.flag
		}
	}
	return flags
}

// Load merges flags, environment, file and defaults, in this precedence, and
// validates the result. An empty environment variable counts as absent. The
// error joins all faults found; the Config is not nil then and holds what
// could be read, for diagnosis only.
func Load(o Options) (*Config, error) {
	env := environment(o.Environ)
	c := &Config{origins: map[string]Origin{}, refused: map[string]refusal{}}
	c.Warnings = misspelled(env)

	file, src, err := readFile(o.File, env["RUNNEL_CONFIG"])
	c.File = file
	if err != nil {
		c.unread = true
		return c, err
	}
	values, whole, errs := readYAML(file, src)
	c.unread = !whole
	for _, s := range settings {
		if err := c.apply(s, o.Flags, env, values); err != nil {
			errs = append(errs, err)
		}
	}
	if c.HTTP == "" {
		c.HTTP = HTTPOff
	}
	errs = append(errs, c.validate()...)
	c.Warnings = append(c.Warnings, c.exposed()...)
	return c, errors.Join(errs...)
}

// apply sets one value from the first source that has it.
func (c *Config) apply(s *setting, flags, env map[string]string, file map[string]fileValue) error {
	v := s.field(c)
	text, origin := s.def, Origin{Kind: "default"}
	fromFile, inFile := file[s.key]
	flag, given := flags[s.flag]
	switch {
	case given && s.flag != "":
		text, origin = flag, Origin{Kind: "flag", At: "--" + s.flag}
	case env[s.env()] != "":
		text, origin = env[s.env()], Origin{Kind: "environment", At: s.env()}
	case inFile:
		text, origin = fromFile.text, Origin{Kind: "file", At: fromFile.at}
		if fromFile.refused != nil { // and reported
			c.origins[s.key] = origin
			c.refuse(s.key, text, fromFile.refused)
			return nil
		}
		if list, ok := v.(routesValue); ok {
			c.origins[s.key] = origin
			*list.p = fromFile.routes
			return nil
		}
		if s.path && text != "" && !filepath.IsAbs(text) {
			text = filepath.Join(filepath.Dir(c.File), text)
		}
	}
	c.origins[s.key] = origin
	if text == "" {
		return nil
	}
	if err := v.set(text); err != nil {
		if e := fault.Find(err); e != nil { // park, or a list from the environment, with its own places
			c.refuse(s.key, text, e.Code)
			return e.At("%s", origin.At)
		}
		c.refuse(s.key, text, ErrValue)
		shown := text
		if s.redact != nil {
			shown = s.redact(text)
		}
		return ErrValue.New("%s: %s, found %.100q", s.key, err, shown).At("%s", origin.At)
	}
	return nil
}

// readFile returns the file's name and content; both empty if there is none.
func readFile(flag, env string) (string, []byte, error) {
	name, from := flag, "--config"
	if name == "" {
		name, from = env, "RUNNEL_CONFIG"
	}
	optional := name == ""
	if optional {
		name = DefaultFile
	}
	f, err := os.Open(name)
	if optional && errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil
	}
	if err != nil {
		return name, nil, ErrNotFound.Wrap(err, "%s", from).At("%s", name)
	}
	defer func() { _ = f.Close() }()
	src, err := io.ReadAll(io.LimitReader(f, strictyaml.MaxFile+1))
	if err != nil {
		return name, nil, ErrNotFound.Wrap(err, "%s", from).At("%s", name)
	}
	return name, src, nil
}

func environment(environ []string) map[string]string {
	env := map[string]string{}
	for _, pair := range environ {
		if name, text, ok := strings.Cut(pair, "="); ok && strings.HasPrefix(name, "RUNNEL_") {
			env[name] = text
		}
	}
	return env
}

// misspelled warns of variables that are nearly, but not quite, ours. Others
// that begin with RUNNEL_ may belong to the service that embeds us.
func misspelled(env map[string]string) []string {
	const prefix = "RUNNEL_"
	known := []string{"CONFIG"}
	for _, s := range settings {
		known = append(known, strings.TrimPrefix(s.env(), prefix))
	}
	var warnings []string
	for name := range env {
		rest := strings.TrimPrefix(name, prefix)
		if slices.Contains(known, rest) {
			continue
		}
		if near := nearest.Within(min(2, len(rest)/3), rest, known); near != "" {
			warnings = append(warnings, "the environment variable "+name+" is not known; did you mean "+prefix+near+"?")
		}
	}
	slices.Sort(warnings)
	return warnings
}

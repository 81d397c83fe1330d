package config

// Entry is one value with its origin. Secrets are replaced by Hidden.
type Entry struct {
	Key    string `json:"key"`
	Value  any    `json:"value"`        // as in the file; "" when not set
	Origin string `json:"origin"`       // default, file, environment or flag
	At     string `json:"at,omitempty"` // path:line:col, the variable or the flag
	Env    string `json:"env"`          // the environment variable that sets it

	text string
}

// Text is the value as one line.
func (e Entry) Text() string { return e.text }

// Entries are all values in a fixed order, secrets hidden.
func (c *Config) Entries() []Entry {
	entries := make([]Entry, len(settings))
	for i, s := range settings {
		v := s.field(c)
		origin := c.origins[s.key]
		e := Entry{Key: s.key, Value: v.plain(), Origin: origin.Kind, At: origin.At, Env: s.env(), text: v.String()}
		if s.redact != nil {
			e.text = s.redact(e.text)
			e.Value = e.text
		}
		entries[i] = e
	}
	return entries
}

// OriginOf says where the value of a key came from.
func (c *Config) OriginOf(key string) Origin { return c.origins[key] }

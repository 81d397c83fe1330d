package config

// Entry is one value with its origin. Secrets are replaced by Hidden.
type Entry struct {
	Key     string `json:"key"`
	Value   any    `json:"value"`             // as in the file; "" when not set; the text given if it is refused
	Origin  string `json:"origin"`            // default, file, environment or flag
	At      string `json:"at,omitempty"`      // path:line:col, the variable or the flag
	Env     string `json:"env"`               // the environment variable that sets it
	Refused string `json:"refused,omitempty"` // code of the fault if the value does not hold

	text string
}

// refusal is a value that does not hold.
type refusal struct {
	text string // as it was given
	code string
}

// Text is the value as one line.
func (e Entry) Text() string { return e.text }

// Entries are all values in a fixed order, secrets hidden, also those that Load
// refused. They are nil when the file could not be read at all: what would be in
// effect is not known then.
func (c *Config) Entries() []Entry {
	if c.unread {
		return nil
	}
	entries := make([]Entry, len(settings))
	for i, s := range settings {
		v := s.field(c)
		origin := c.origins[s.key]
		e := Entry{Key: s.key, Value: v.plain(), Origin: origin.Kind, At: origin.At, Env: s.env(), text: v.String()}
		if refused, ok := c.refused[s.key]; ok {
			e.Refused, e.text = refused.code, refused.text
			e.Value = e.text
		}
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

package schemas

import (
	"crypto/sha256"
	"encoding/hex"
)

// Fingerprint identifies one version of a type: SHA-256 over its normalised
// JSON. Unlike the fingerprint of Avro's parsing canonical form it covers
// logical types, defaults, aliases, enum defaults and custom properties, so two
// versions with the same fingerprint are the same in every way but their docs.
type Fingerprint [sha256.Size]byte

// String returns the fingerprint in lower case hex.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// IsZero reports whether f was never set.
func (f Fingerprint) IsZero() bool { return f == Fingerprint{} }

// Fingerprint returns the fingerprint of s as a self-contained definition.
func (s *Schema) Fingerprint() Fingerprint { return sha256.Sum256([]byte(s.Normalised())) }

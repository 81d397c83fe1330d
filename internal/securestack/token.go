package securestack

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"time"
)

// Issuer signs tokens (JWT, ES256) that name a role. It is safe for concurrent
// use.
type Issuer struct{ key *ecdsa.PrivateKey }

// NewIssuer makes an issuer with a key of its own.
func NewIssuer() (*Issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &Issuer{key}, err
}

// PublicKey returns the key that a broker checks tokens with (DER).
func (i *Issuer) PublicKey() ([]byte, error) { return x509.MarshalPKIXPublicKey(&i.key.PublicKey) }

// Token returns a token for a role. One whose expires is zero never expires.
func (i *Issuer) Token(role string, expires time.Time) (string, error) {
	claims := map[string]any{"sub": role}
	if !expires.IsZero() {
		claims["exp"] = expires.Unix()
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"ES256"}`)) + "." + encode(body)
	digest := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, digest[:])
	if err != nil {
		return "", err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + encode(signature), nil
}

package broker

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// maxToken bounds a token, in bytes. Real ones have some hundred.
const maxToken = 64 << 10

// tokenFile gives the token that a file holds now. Safe for concurrent use.
//
// Invariant: once it gave a token it always gives one. A file that is being
// replaced may be absent or empty for a moment; the last token read is used
// then, and whether that is still good is the broker's to say.
type tokenFile struct {
	path string // "": no token
	log  *slog.Logger

	mu      sync.Mutex
	last    string
	failing bool // said so already
}

// token returns the token, "" without a file.
func (f *tokenFile) token() (string, error) {
	if f.path == "" {
		return "", nil
	}
	token, err := readToken(f.path)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil:
		if f.failing {
			f.log.Info("the file with the token can be read again", "file", f.path)
		}
		f.last, f.failing = token, false
	case f.last == "":
		return "", err
	case !f.failing:
		f.log.Warn("the file with the token cannot be read; the last one is used", "error", err)
		f.failing = true
	}
	return f.last, nil
}

// readToken reads a token. Its errors do not quote the file.
func readToken(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", ErrTokenFile.Wrap(err, "reading pulsar.token_file")
	}
	if info.Size() > maxToken {
		return "", ErrTokenFile.New("it has %d bytes, which no token has", info.Size()).At("%s", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", ErrTokenFile.Wrap(err, "reading pulsar.token_file")
	}
	token := strings.TrimPrefix(strings.TrimSpace(string(data)), "token:")
	if token == "" {
		return "", ErrTokenFile.New("it is empty").At("%s", path)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", ErrTokenFile.New("it holds blanks, several lines or other than ASCII, which no token does").At("%s", path)
	}
	return token, nil
}

// Identity is what a token says of itself. It is not verified: the broker does
// that, and may be set to take the role from another claim.
type Identity struct {
	Subject string    // the role, by default
	Expires time.Time // zero: never
}

var errNoJWT = errors.New("not a JWT")

// parseIdentity reads the claims of a JWT.
func parseIdentity(token string) (Identity, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || len(token) > maxToken {
		return Identity{}, errNoJWT
	}
	body, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return Identity{}, errNoJWT
	}
	var claims struct {
		Subject string  `json:"sub"`
		Expires float64 `json:"exp"`
	}
	if json.Unmarshal(body, &claims) != nil {
		return Identity{}, errNoJWT
	}
	id := Identity{Subject: clip(claims.Subject)}
	if claims.Expires >= 1 && claims.Expires < 1<<40 {
		id.Expires = time.Unix(int64(claims.Expires), 0)
	}
	return id, nil
}

// describeToken says of a refused token what may explain it, "" if nothing.
func describeToken(token string, now time.Time) string {
	if token == "" {
		return "no token was shown"
	}
	id, err := parseIdentity(token)
	switch {
	case err != nil:
		return "the token shown is not a JWT"
	case !id.Expires.IsZero() && !id.Expires.After(now):
		return fmt.Sprintf("the token shown, of %q, expired at %s", id.Subject, id.Expires.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("the token shown is of %q", id.Subject)
}

// Identity returns what the token in use says of itself; false when there is
// none, or it is not a JWT.
func (p *Pulsar) Identity() (Identity, bool) {
	token, err := p.token.token()
	if err != nil || token == "" {
		return Identity{}, false
	}
	id, err := parseIdentity(token)
	return id, err == nil
}

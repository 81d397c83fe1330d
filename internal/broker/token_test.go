package broker

import (
	"bytes"
	"encoding/base64"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// jwt is a token with claims, whose signature nobody checks here.
func jwt(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

// Once it was read, a file that cannot be read does no harm, and is told once.
func TestTokenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	var log bytes.Buffer
	f := &tokenFile{path: path, log: slog.New(slog.NewTextHandler(&log, nil))}
	refused := func(what string) {
		t.Helper()
		if token, err := f.token(); !errors.Is(err, ErrTokenFile) || token != "" || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %q, %v", what, token, err)
		}
	}
	gives := func(want string) {
		t.Helper()
		if token, err := f.token(); err != nil || token != want {
			t.Errorf("%q, %v, want %q", token, err, want)
		}
	}
	refused("absent")
	for what, text := range map[string]string{
		"empty": "", "blank": " \n\n", "two lines": "hunter2\nhunter2", "two words": "hunter2 hunter2",
		"binary": "hunter2\x00", "not ASCII": "hunter2é", "huge": strings.Repeat("hunter2", 10_000),
	} {
		write(t, path, text)
		refused(what)
	}
	write(t, path, "token:one\r\n")
	gives("one")
	write(t, path, "")
	gives("one")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	gives("one")
	if n := strings.Count(log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, log.String())
	}
	write(t, path, "two")
	gives("two")
	if n := strings.Count(log.String(), "level=INFO"); n != 1 {
		t.Errorf("no line on recovery:\n%s", log.String())
	}
	if token, err := (&tokenFile{}).token(); token != "" || err != nil {
		t.Errorf("%q, %v", token, err)
	}
}

func TestDescribeToken(t *testing.T) {
	now := time.Unix(1_900_000_000, 0)
	for token, want := range map[string]string{
		"":                                       "no token was shown",
		"hunter2":                                "not a JWT",
		"e30.hunter2!.c2ln":                      "not a JWT",
		jwt(`[]`):                                "not a JWT",
		jwt(`{"sub":"runnel"}`):                  `of "runnel"`,
		jwt(`{"sub":"runnel","exp":1899999999}`): `of "runnel", expired at 2030-03-17T17:46:39Z`,
		jwt(`{"sub":"runnel","exp":1900000001}`): `of "runnel"`,
		jwt(`{"sub":"runnel","exp":1900000001e30}`): `of "runnel"`,
	} {
		if got := describeToken(token, now); !strings.Contains(got, want) || strings.Contains(got, "hunter2") {
			t.Errorf("%s: %s", token, got)
		}
	}
}

func FuzzIdentity(f *testing.F) {
	f.Add(jwt(`{"sub":"runnel","exp":1900000001}`))
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		id, err := parseIdentity(token)
		if err != nil && id != (Identity{}) {
			t.Fatalf("%+v with %v", id, err)
		}
		if len(id.Subject) > 303 || id.Expires.Year() > 40000 {
			t.Fatalf("%+v", id)
		}
	})
}

package wire

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/fault"
)

// Places in a catalog's faults begin with the folder as it was given.
func TestCatalogPlaces(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bad.avsc"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join(dir, ".."))
	name := filepath.Base(dir)
	for _, given := range []string{dir, name, "./" + name + "/", "../" + filepath.Base(filepath.Dir(dir)) + "/" + name} {
		_, err := Catalog(given)
		e := fault.Find(err)
		if e == nil || !strings.HasPrefix(e.Where, filepath.Clean(given)+"/bad.avsc:") {
			t.Errorf("%s: %v", given, err)
		}
	}
}

func TestPostgresFaults(t *testing.T) {
	t.Chdir(t.TempDir())
	for url, code := range map[string]*fault.Code{
		"":                                    config.ErrMissing,
		"postgres://u:hunter2@127.0.0.1:1/db": capture.ErrUnreachable,
	} {
		cfg, err := config.Load(config.Options{Flags: map[string]string{"postgres": url}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = Postgres(t.Context(), cfg, "test")
		if !errors.Is(err, code) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", url, err)
		}
	}
	for state, code := range map[string]*fault.Code{"42501": capture.ErrGrant, "42P01": capture.ErrNoOutbox} {
		if err := QueryFault(&pgconn.PgError{Code: state}, "look"); !errors.Is(err, code) {
			t.Errorf("%s: %v", state, err)
		}
	}
	if QueryFault(nil, "look") != nil {
		t.Error("no error became one")
	}
}

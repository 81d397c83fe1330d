package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/internal/fault"
)

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"postgres://u:hunter2@h/db":                    "postgres://u:xxxxx@h/db",
		"postgres://u:hun@ter/2@h:5432/db":             "postgres://u:xxxxx@h:5432/db",
		"postgres://u@h/db?password=hunter2&sslmode=x": "postgres://u@h/db?password=xxxxx&sslmode=x",
		"postgres://h/db?sslpassword=hunter2":          "postgres://h/db?sslpassword=xxxxx",
		"host=h password=hunter2 dbname=d":             "host=h password=xxxxx dbname=d",
		`host=h password = 'hun\' ter2' dbname=d`:      "host=h password = xxxxx dbname=d",
		"pulsar://h:6650":                              "pulsar://h:6650",
		"https://user:hunter2@h:8443/?token=hunter2":   "https://user:xxxxx@h:8443/?token=xxxxx",
		"postgres://u@h/db":                            "postgres://u@h/db",
	} {
		if got := Redact(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// No secret reaches what is shown or reported, whatever is wrong with it.
func TestSecretsStayInside(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, env := range [][]string{
		{"RUNNEL_POSTGRES_URL=postgres://u:hunter2@h/db"},
		{"RUNNEL_POSTGRES_URL=postgres://u:hunter2@h:port/db"},
		{"RUNNEL_POSTGRES_URL=postgres://u:hunter2%zz@h/db"},
		{"RUNNEL_POSTGRES_URL=host=h password=hunter2 port=x"},
		{"RUNNEL_PULSAR_URL=http://u:hunter2@h", "RUNNEL_PULSAR_ADMIN_URL=ftp://u:hunter2@h"},
		{"RUNNEL_POSTGRES_URL=host=h", "RUNNEL_POSTGRES_PASSWORD=hunter2"},
	} {
		c, err := Load(Options{Environ: env})
		shown, _ := json.Marshal(c.Entries())
		text := string(shown)
		for _, e := range c.Entries() {
			text += e.Text()
		}
		if err != nil {
			text += err.Error()
		}
		if strings.Contains(text, "hunter2") {
			t.Errorf("%s: leaked in %s", env, text)
		}
	}
}

func TestPasswordFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pw")
	const secret = `p@ss/w?rd'\ &x=1`
	for _, url := range []string{"postgres://u@h/db", "postgres://u:old@h/db?sslmode=disable", "postgres://u@h1:1,h2:2/db", "postgres://u@h/db?password=old", "host=h user=u dbname=db"} {
		c := &Config{Postgres: Postgres{URL: url, PasswordFile: file}}
		if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := c.PostgresURL()
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := pgconn.ParseConfig(got)
		if err != nil || parsed.Password != secret || parsed.Database != "db" {
			t.Errorf("%s: %v %+v", url, err, parsed)
		}
		// a changed file is seen
		if err := os.WriteFile(file, []byte("new"), 0o600); err != nil {
			t.Fatal(err)
		}
		got, _ = c.PostgresURL()
		if parsed, err = pgconn.ParseConfig(got); err != nil || parsed.Password != "new" {
			t.Errorf("%s: %v after the change", url, err)
		}
	}
	c := &Config{Postgres: Postgres{PasswordFile: filepath.Join(dir, "absent")}}
	if _, err := c.PostgresURL(); fault.Find(err) == nil || fault.Find(err).Code != ErrSecretFile {
		t.Errorf("absent password: %v", err)
	}
	c.Postgres.PasswordFile = filepath.Join(dir, "empty")
	if err := os.WriteFile(c.Postgres.PasswordFile, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PostgresURL(); fault.Find(err) == nil || fault.Find(err).Code != ErrSecretFile {
		t.Errorf("empty password: %v", err)
	}
}

// A password where others can read it is warned of, without being told.
func TestExposedPassword(t *testing.T) {
	t.Chdir(t.TempDir())
	const address = "postgres://u:hunter2@h/db"
	if err := os.WriteFile("with.yaml", []byte("postgres: {url: '"+address+"'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		o    Options
		want string
	}{
		{Options{Flags: map[string]string{"postgres": address}}, "list of this machine's processes"},
		{Options{Flags: map[string]string{"postgres": "host=h password=hunter2"}}, "list of this machine's processes"},
		{Options{File: "with.yaml"}, "configuration file"},
		{Options{Environ: []string{"RUNNEL_POSTGRES_URL=" + address}}, ""},
		{Options{Flags: map[string]string{"postgres": "postgres://u@h/db"}}, ""},
	} {
		c, err := Load(tc.o)
		warned := strings.Join(c.Warnings, "\n")
		if err != nil || strings.Contains(warned, "hunter2") || !strings.Contains(warned, tc.want) || (warned == "") != (tc.want == "") {
			t.Errorf("%v: %q, %v", tc.o, warned, err)
		}
	}
}

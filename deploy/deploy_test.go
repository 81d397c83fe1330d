package deploy

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// settings parses `key = value` lines and fails on anything else and on a key
// given twice.
func settings(t *testing.T, text string) map[string]string {
	t.Helper()
	values := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		key = strings.TrimSpace(key)
		if !ok || key == "" || strings.ContainsAny(key, " #") {
			t.Errorf("line %d is no setting: %s", n, line)
		}
		if _, twice := values[key]; twice {
			t.Errorf("line %d: %s is set twice", n, key)
		}
		values[key] = strings.Trim(strings.TrimSpace(value), "'")
	}
	return values
}

// TestPulsarStandalone pins what the promise rests on.
func TestPulsarStandalone(t *testing.T) {
	got := settings(t, PulsarStandalone)
	for key, want := range map[string]string{
		"bindAddress":                       "127.0.0.1",
		"advertisedAddress":                 "127.0.0.1",
		"brokerDeduplicationEnabled":        "true",
		"topicLevelPoliciesEnabled":         "true",
		"brokerDeleteInactiveTopicsEnabled": "false",
		"defaultRetentionTimeInMinutes":     "-1",
		"defaultRetentionSizeInMB":          "-1",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	if _, set := got["metadataStoreUrl"]; set {
		t.Error("metadataStoreUrl must not be set")
	}
}

func TestPostgreSQL(t *testing.T) {
	got := settings(t, PostgreSQL)
	for key, want := range map[string]string{
		"listen_addresses":    "127.0.0.1",
		"wal_level":           "logical",
		"password_encryption": "scram-sha-256",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	if _, set := got["port"]; set {
		t.Error("the port comes from the stack")
	}
}

// TestSecure: TLS alone, everybody says who they are, and what each may is judged.
func TestSecure(t *testing.T) {
	for name, tc := range map[string]struct {
		got  map[string]string
		want map[string]string
	}{
		"Pulsar": {settings(t, PulsarSecure), map[string]string{
			"authenticationEnabled": "true", "authorizationEnabled": "true", "brokerClientTlsEnabled": "true",
			"authenticationProviders": "org.apache.pulsar.broker.authentication.AuthenticationProviderToken",
		}},
		"Postgres": {settings(t, PostgreSQLSecure), map[string]string{"ssl": "on", "ssl_min_protocol_version": "TLSv1.2"}},
	} {
		for key, want := range tc.want {
			if tc.got[key] != want {
				t.Errorf("%s: %s is %q, want %q", name, key, tc.got[key], want)
			}
		}
	}
	for line := range strings.Lines(PostgreSQLAccess) {
		if fields := strings.Fields(line); len(fields) > 0 && !strings.HasPrefix(line, "#") && fields[0] != "hostssl" {
			t.Errorf("a way in without TLS: %s", line)
		}
	}
}

// TestEveryFileExplainsItself: settings without a reason are not kept.
func TestEveryFileExplainsItself(t *testing.T) {
	for name, text := range map[string]string{
		"standalone.conf": PulsarStandalone, "postgresql.conf": PostgreSQL, "runnel.service": Unit, "secure.conf": PulsarSecure, "pg_hba.conf": PostgreSQLAccess,
	} {
		if !strings.HasPrefix(text, "# ") || strings.Count(text, "\n#") < 10 {
			t.Errorf("%s has hardly any comments", name)
		}
	}
}

// TestUnit has systemd judge the unit, where systemd is.
func TestUnit(t *testing.T) {
	for _, line := range []string{"NoNewPrivileges=yes", "ProtectSystem=strict", "DynamicUser=yes", "Restart=on-failure"} {
		if !strings.Contains(Unit, "\n"+line+"\n") {
			t.Errorf("the unit lacks %s", line)
		}
	}
	for line := range strings.Lines(Unit) { // newer than the systemd of Ubuntu 22.04
		if !strings.HasPrefix(line, "#") && strings.Contains(line, "%d") {
			t.Errorf("this needs systemd 250: %s", line)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here")
	}
	// verify insists on a binary that exists.
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "runnel.service")
	text := strings.Replace(Unit, "/usr/local/bin/runnel run", binary+" run", 1)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", "--man=no", file).CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

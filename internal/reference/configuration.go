package reference

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/runnel-cdc/runnel/internal/config"
)

// configurationPage describes every setting.
func configurationPage() []byte {
	var b bytes.Buffer
	b.WriteString(header)
	b.WriteString(`# Configuration

The addresses and the folder of schemas suffice; the rest has defaults. A value is taken from, in this order: a flag, the
environment, the file given by ` + "`--config`" + ` or RUNNEL_CONFIG (else ` + "`runnel.yaml`" + ` in the current folder), the default.
` + "`runnel config show`" + ` prints every value and where it came from, secrets hidden.

` + "```yaml" + `
# runnel.yaml
schemas: ./schemas
postgres:
  url: postgres://runnel_daemon@db.example/shop?sslmode=verify-full
  password_file: /run/secrets/postgres
pulsar:
  url: pulsar+ssl://pulsar.example:6651
  admin_url: https://pulsar.example:8443
  token_file: /run/secrets/pulsar
  ca_file: /etc/ssl/pulsar-ca.pem
routes:
  - {aggregate: order, type: "Audit*", topic: order-audit}
` + "```" + `

The file is strict: an unknown key, a wrong type or a value out of bounds is an error with line and column. Secrets are
refused in it. Durations are written 500ms, 90s, 15m, 36h, 7d; sizes 64KiB, 32MiB, 1GiB.

| key | default | environment | flag |
|---|---|---|---|
`)
	all := config.Reference()
	for _, s := range all {
		def, flag := code(s.Default), code(s.Flag)
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s | %s |\n", s.Key, anchor(s.Key), def, code(s.Env), flag)
	}
	for _, s := range all {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\nWrite %s.", s.Key, s.About, s.Form)
		if s.Secret {
			fmt.Fprintf(&b, " Only as %s, never in the file.", code(s.Env))
		}
		b.WriteString("\n")
	}
	return b.Bytes()
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

// anchor is what GitHub makes of a heading.
func anchor(heading string) string { return strings.ReplaceAll(heading, ".", "") }

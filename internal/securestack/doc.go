// Package securestack starts a Postgres and a Pulsar as a company would run
// them: TLS and nothing else, passwords or client certificates, tokens, roles.
//
//	stack, err := securestack.Start(ctx, devstack.Options{Postgres: true, Pulsar: true})
//	stack.PostgresURL                              // sslmode=verify-full
//	token, _ := stack.Issuer.Token("daemon", time.Time{})
//	client, _ := stack.Authority.Issue(securestack.Request{Name: "some_role"})
//
// Keys and certificates are made when it starts (authority.go, token.go), and
// nothing of them is kept. The settings are those in deploy/postgres/secure.conf,
// deploy/postgres/pg_hba.conf and deploy/pulsar/secure.conf; internal/devstack
// starts and ends the servers. Its tests are those of every part of Runnel on
// secured servers, so that they start once: see stack_test.go, and
// quickstart_test.go, which follows docs/security.md.
//
// It is not what guards `runnel dev`, whose servers listen on loopback without TLS.
package securestack

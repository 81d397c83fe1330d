package pgfault

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// A server without TLS where TLS is asked for.
func TestNoTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		if _, err := io.ReadFull(c, make([]byte, 8)); err == nil { // SSLRequest
			_, _ = c.Write([]byte("N"))
		}
	}()
	defer func() { _ = l.Close(); <-done }()
	_, err = pgconn.Connect(context.Background(), "postgres://u:hunter2@"+l.Addr().String()+"/d?sslmode=require")
	if f := TLS(err); f == nil || !errors.Is(f, ErrTLS) || !strings.Contains(f.WhatToDo(), "ssl = on") || strings.Contains(f.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
	if f := TLS(errors.New("connection refused")); f != nil {
		t.Errorf("%v", f)
	}
}

// Whatever is wrong with an address, its password is not told.
func TestUnusable(t *testing.T) {
	for address, want := range map[string]string{
		"postgres://u:hunter2@h:port/d":                                "not a Postgres URL",
		"postgres://u:hunter2%zz@h/d":                                  "not a Postgres URL",
		"host=h password=hunter2 port=x":                               "not a Postgres URL",
		"postgres://u:hunter2@h/d?sslmode=nonsense":                    "sslmode is invalid",
		"postgres://u:hunter2@h/d?sslmode=require&sslrootcert=/no.pem": "/no.pem",
		"postgres://u:hunter2@h/d?sslmode=require&sslcert=/no.crt":     "sslkey",
	} {
		_, err := pgconn.ParseConfig(address)
		if text := Unusable(err); !strings.Contains(text, want) || strings.Contains(text, "hunter2") {
			t.Errorf("%s: %q (%v)", address, text, err)
		}
	}
}

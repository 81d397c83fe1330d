package pgfault

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

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
	if f := TLS(err, nil); f == nil || !errors.Is(f, ErrTLS) || !strings.Contains(f.WhatToDo(), "ssl = on") || strings.Contains(f.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
	if f := TLS(errors.New("connection refused"), nil); f != nil {
		t.Errorf("%v", f)
	}
}

// A server that refuses an expired certificate may hang up before it can say so.
func TestExpiredCertificate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	shown := func(expires time.Time) *tls.Config {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: expires}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	}
	reset := &net.OpError{Op: "write", Err: syscall.ECONNRESET}
	if f := TLS(reset, shown(time.Now().Add(-time.Minute))); f == nil || !strings.Contains(f.WhatToDo(), "sslcert") {
		t.Errorf("%v", f)
	}
	if f := TLS(reset, shown(time.Now().Add(time.Minute))); f != nil {
		t.Errorf("%v", f)
	}
	for _, other := range []error{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, &pgconn.PgError{Code: "28P01"}, context.DeadlineExceeded} {
		if f := TLS(other, shown(time.Now().Add(-time.Minute))); f != nil {
			t.Errorf("%v", f)
		}
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

// What is tried twice is told once, in one line.
func TestAttempts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = pgconn.Connect(context.Background(), "postgres://u@"+address+"/d?sslmode=prefer")
	if text := Root(err).Error(); !strings.Contains(err.Error(), "\n") || strings.Contains(text, "\n") ||
		strings.Count(text, "refused") != 1 || !errors.Is(Root(err), syscall.ECONNREFUSED) {
		t.Errorf("%s", text)
	}
}

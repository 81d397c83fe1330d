package securestack

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/runnel-cdc/runnel/internal/devstack"
)

// Superuser is the broker's superuser.
const Superuser = "superuser"

// Host is the one name that the servers' certificates hold.
const Host = "127.0.0.1"

// Stack is a Postgres and a Pulsar that speak TLS alone, and what it takes to
// get in.
type Stack struct {
	*devstack.Stack // PostgresURL is the superuser's, with verify-full

	Authority *Authority // signed the servers' certificates, and signs clients'
	Issuer    *Issuer    // the broker takes its tokens
}

// Start starts the servers that o asks for, as an Ephemeral stack.
func Start(ctx context.Context, o devstack.Options) (*Stack, error) {
	s := &Stack{}
	var err error
	if s.Authority, err = NewAuthority("Runnel's tests"); err != nil {
		return nil, err
	}
	if s.Issuer, err = NewIssuer(); err != nil {
		return nil, err
	}
	server, err := s.Authority.Issue(Request{Hosts: []string{Host}})
	if err != nil {
		return nil, err
	}
	public, err := s.Issuer.PublicKey()
	if err != nil {
		return nil, err
	}
	token, err := s.Issuer.Token(Superuser, time.Time{})
	if err != nil {
		return nil, err
	}
	ca := s.Authority.PEM()
	o.Ephemeral = true
	o.Secure = &devstack.Secure{
		CA:                  ca,
		PostgresCertificate: server.Certificate, PostgresKey: server.Key, PostgresClientCA: ca,
		PulsarCertificate: server.Certificate, PulsarKey: server.Key, PulsarTokenKey: public, PulsarToken: token,
	}
	s.Stack, err = devstack.Up(ctx, o)
	return s, err
}

// ChangeTokenKey ends the broker, gives it another key to verify tokens with, and
// starts it again: all tokens so far are void. Issuer has the new key.
func (s *Stack) ChangeTokenKey(ctx context.Context) error {
	issuer, err := NewIssuer()
	if err != nil {
		return err
	}
	public, err := issuer.PublicKey()
	if err != nil {
		return err
	}
	token, err := issuer.Token(Superuser, time.Time{})
	if err != nil {
		return err
	}
	if err := s.KillBroker(); err != nil {
		return err
	}
	if err := s.ReplacePulsarTokenKey(public, token); err != nil {
		return err
	}
	s.Issuer = issuer
	return s.StartBroker(ctx)
}

// Admin makes a request to the broker's admin interface as its superuser; the
// path is below /admin/v2. An answer that is not 2xx is an error. The body is
// sent as JSON unless it is nil.
func (s *Stack) Admin(ctx context.Context, method, path string, body any) ([]byte, error) {
	token, err := s.Issuer.Token(Superuser, time.Time{})
	if err != nil {
		return nil, err
	}
	status, answer, err := s.Ask(ctx, token, method, path, body)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("%s %s: HTTP %d: %.300s", method, path, status, answer)
	}
	return answer, err
}

// Ask makes a request to the admin interface with any token.
func (s *Stack) Ask(ctx context.Context, token, method, path string, body any) (status int, answer []byte, err error) {
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		content = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, s.PulsarAdminURL+"/admin/v2"+path, content)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: s.Authority.Pool(), MinVersion: tls.VersionTLS12},
	}}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err = io.ReadAll(io.LimitReader(response.Body, 16<<20))
	return response.StatusCode, bytes.TrimSpace(answer), err
}

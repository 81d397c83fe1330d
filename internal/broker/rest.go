package broker

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/runnel-cdc/runnel/internal/fault"
)

// rest is a small client of Pulsar's admin interface.
type rest struct {
	base    string // without a trailing slash
	http    *http.Client
	timeout time.Duration

	transport *tokenTransport
	life      context.Context // of calls; ended by close
	end       context.CancelFunc
}

// maxAnswer bounds an answer of the admin interface, in bytes. The largest are
// internalStats of topics with many thousand ledgers.
const maxAnswer = 64 << 20

func newREST(base string, cfg Config, file *tokenFile) *rest {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: cfg.OperationTimeout, KeepAlive: cfg.KeepAlive}).DialContext,
		DialTLSContext:        cfg.dialTLS,
		TLSHandshakeTimeout:   cfg.OperationTimeout,
		ResponseHeaderTimeout: cfg.OperationTimeout,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   8,
		ForceAttemptHTTP2:     true,
	}
	if config, err := cfg.tlsConfig(); err == nil {
		transport.TLSClientConfig = config // through a proxy, where DialTLSContext is not asked
	}
	carrying := &tokenTransport{base: transport, token: file.token}
	life, end := context.WithCancel(context.Background())
	return &rest{base: base, timeout: cfg.OperationTimeout, transport: carrying, life: life, end: end, http: &http.Client{
		Transport: carrying,
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) >= 10 {
				return errors.New("stopped after 10 redirects")
			}
			if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
				return errors.New("refused a redirect from https to http")
			}
			return nil
		},
	}}
}

// close ends all calls and idle connections; later requests are refused.
func (r *rest) close() {
	r.transport.close()
	r.end()
}

// tokenTransport adds the token to every request, also to redirected ones: a
// broker answers for topics of another broker with a redirect to it, and
// net/http drops the header when the host changes.
type tokenTransport struct {
	base   *http.Transport
	token  func() (string, error)
	closed atomic.Bool
}

// RoundTrip implements http.RoundTripper.
func (t *tokenTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.closed.Load() {
		return nil, ErrLost.New("the connection to the broker is closed")
	}
	token, err := t.token()
	if err != nil {
		return nil, err
	}
	if token != "" {
		req = req.Clone(req.Context())
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return t.base.RoundTrip(req)
}

func (t *tokenTransport) close() {
	t.closed.Store(true)
	t.base.CloseIdleConnections()
}

// statusError is an answer that is not 2xx.
type statusError struct {
	status int
	reason string
	pulsar bool // it is Pulsar's, and not of a web server: it gives a reason
}

func (e *statusError) Error() string { return fmt.Sprintf("HTTP %d: %s", e.status, e.reason) }

// stranger reports whether err is the answer of some other web server.
func stranger(err error) bool {
	var s *statusError
	return errors.As(err, &s) && !s.pulsar
}

// status returns the HTTP status in err's chain, or 0.
func status(err error) int {
	var s *statusError
	if errors.As(err, &s) {
		return s.status
	}
	return 0
}

// call sends body (nil: none) as JSON and decodes the answer into out (nil:
// ignored; *string: as text). It reports whether there was an answer at all:
// Pulsar says "not set" with 204. The path is below /admin/v2.
func (r *rest) call(ctx context.Context, method, path string, body, out any) (bool, error) {
	caller := ctx
	ctx, cancel := context.WithTimeout(caller, r.timeout)
	defer cancel()
	defer context.AfterFunc(r.life, cancel)()
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return false, err
		}
		reader = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.base+"/admin/v2"+path, reader)
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if _, ok := out.(*string); ok {
		req.Header.Set("Accept", "*/*") // some answers are plain text only
	}
	code, data, err := r.exchange(req)
	if err != nil {
		if r.life.Err() != nil && caller.Err() == nil {
			err = errClosed()
		}
		return false, r.connectFault(err)
	}
	if len(data) > maxAnswer {
		return false, ErrAdmin.New("%s %s answered with more than %d bytes", method, path, maxAnswer)
	}
	if code/100 != 2 {
		return false, AnswerFault(method, path, code, data)
	}
	if out == nil || len(data) == 0 {
		return len(data) > 0, nil
	}
	if text, ok := out.(*string); ok {
		*text = string(data)
		return true, nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return false, ErrWrongServer.Wrap(err, "%s%s answered something else than Pulsar would", r.base, path)
	}
	return true, nil
}

// exchange sends a request and returns the answer's status and its body, of
// maxAnswer+1 bytes at most.
func (r *rest) exchange(req *http.Request) (int, []byte, error) {
	resp, err := r.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	return resp.StatusCode, data, err
}

// AnswerFault gives an answer of the admin interface that is not 2xx its code. A
// role that lacks a permission gets 403 from some resources and 401 from others;
// what tells it from a token that is not taken is that Pulsar gives a reason, and
// not the web server before it.
func AnswerFault(method, path string, code int, body []byte) error {
	err := &statusError{code, reason(body), explain(body).Reason != ""}
	switch {
	case code == http.StatusForbidden, code == http.StatusUnauthorized && err.pulsar:
		return ErrForbidden.Wrap(err, "%s %s", method, path)
	case code == http.StatusUnauthorized:
		return ErrUnauthorized.Wrap(err, "%s %s", method, path)
	}
	return ErrAdmin.Wrap(err, "%s %s", method, path)
}

// explanation is the body of an error: Reason is Pulsar's, Message its web
// server's.
type explanation struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

func explain(body []byte) (e explanation) {
	if json.Unmarshal(body, &e) != nil {
		return explanation{}
	}
	return e
}

// reason is the text of an error's body: its reason, the title of a page, or its
// start.
func reason(body []byte) string {
	e := explain(body)
	_, title, _ := strings.Cut(string(body), "<title>")
	title, _, _ = strings.Cut(title, "</title>")
	return clip(cmp.Or(e.Reason, e.Message, title, strings.Join(strings.Fields(string(body)), " ")))
}

func clip(text string) string {
	if len(text) > 300 {
		return strings.ToValidUTF8(text[:300], "") + "..."
	}
	return strings.ToValidUTF8(text, "?")
}

// connectFault gives a request that got no answer its code.
func (r *rest) connectFault(err error) error {
	if errors.Is(err, context.Canceled) || fault.Find(err) != nil {
		return err
	}
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &record), strings.Contains(err.Error(), "malformed HTTP"), strings.Contains(err.Error(), "HTTP response to HTTPS"):
		return ErrWrongServer.Wrap(err, "asking the admin interface at %s", r.base)
	case tlsFault(err, "pulsar.admin_url", "") != nil:
		return tlsFault(err, "pulsar.admin_url", "asking the admin interface at %s", r.base)
	}
	return ErrUnreachable.Wrap(err, "asking the admin interface at %s", r.base).
		Fix("Check pulsar.admin_url, that the broker runs, and the network between.")
}

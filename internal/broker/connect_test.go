package broker

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/fault"
)

// Numbers of Pulsar's wire protocol (PulsarApi.proto).
const (
	cmdConnected = 3
	cmdError     = 14

	codeAuthentication = 3
	codeAuthorization  = 4
)

func appendField(dst []byte, number int, value string) []byte {
	dst = binary.AppendUvarint(dst, uint64(number)<<3|2)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// frame builds what a broker sends: a command of a kind with a body.
func frame(kind int, body []byte) []byte {
	command := append([]byte{1 << 3, byte(kind)}, appendField(nil, kind, string(body))...)
	out := binary.BigEndian.AppendUint32(nil, uint32(len(command)+4))
	out = binary.BigEndian.AppendUint32(out, uint32(len(command)))
	return append(out, command...)
}

var connected = frame(cmdConnected, append(appendField(nil, 1, "Pulsar Server-4.0.8"), 2<<3, 21, 3<<3, 0x80, 0x80, 0xc0, 0x02))

// listen answers every connection with f.
func listen(t *testing.T, l net.Listener, f func(net.Conn)) string {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				f(c)
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func plain(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// answer reads the CONNECT frame, and says something.
func answer(data []byte) func(net.Conn) {
	return func(c net.Conn) {
		var size [4]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(size[:]))); err == nil {
			_, _ = c.Write(data)
		}
	}
}

func TestDialFaults(t *testing.T) {
	web := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate: 127.0.0.1, example.com
	defer web.Close()
	certificate := web.TLS.Certificates
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	write(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})))
	empty := filepath.Join(dir, "empty")
	write(t, empty, "\n")
	token := filepath.Join(dir, "token")
	write(t, token, "token:secret\n")

	secure := func(f func(net.Conn)) string {
		return listen(t, tls.NewListener(plain(t), &tls.Config{Certificates: certificate}), f)
	}
	good := "pulsar://" + listen(t, plain(t), answer(connected))
	closed := plain(t)
	_ = closed.Close()
	silent := listen(t, plain(t), func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	httpPort := listen(t, plain(t), func(c net.Conn) {
		_, _ = bufio.NewReader(c).ReadByte()
		_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
	})
	refusing := func(code byte) string {
		body := append([]byte{1 << 3, 0, 2 << 3, code}, appendField(nil, 3, "no such role")...)
		return "pulsar://" + listen(t, plain(t), answer(frame(cmdError, body)))
	}
	_, securePort, _ := net.SplitHostPort(secure(answer(connected)))

	for name, c := range map[string]struct {
		cfg  Config
		want error
	}{
		"good":                    {Config{URL: good}, nil},
		"good, with a token":      {Config{URL: good, TokenFile: token}, nil},
		"good, the second of two": {Config{URL: "pulsar://" + closed.Addr().String() + "," + strings.TrimPrefix(good, "pulsar://")}, nil},
		"good, with TLS":          {Config{URL: "pulsar+ssl://127.0.0.1:" + securePort, CAFile: ca}, nil},
		"nobody listens":          {Config{URL: "pulsar://" + closed.Addr().String()}, ErrUnreachable},
		"nobody listens, twice":   {Config{URL: "pulsar://" + closed.Addr().String() + "," + closed.Addr().String()}, ErrUnreachable},
		"nobody answers":          {Config{URL: "pulsar://" + silent}, ErrUnreachable},
		"no such host":            {Config{URL: "pulsar://no-such-host.invalid:1"}, ErrUnreachable},
		"a web server":            {Config{URL: "pulsar://" + httpPort}, ErrWrongServer},
		"closes at once":          {Config{URL: "pulsar://" + listen(t, plain(t), func(net.Conn) {})}, ErrUnreachable},
		"another protocol":        {Config{URL: "pulsar://" + listen(t, plain(t), answer(frame(7, nil)))}, ErrWrongServer},
		"TLS where there is none": {Config{URL: "pulsar+ssl://" + httpPort}, ErrWrongServer},
		"closes without an alert": {Config{URL: "pulsar://127.0.0.1:" + securePort}, ErrUnreachable}, // Go's TLS
		"none where there is TLS": {Config{URL: "pulsar://" + listen(t, plain(t), answer([]byte("\x15\x03\x03\x00\x02\x02\x46")))}, ErrWrongServer},
		"says a word and closes":  {Config{URL: "pulsar://" + listen(t, plain(t), answer([]byte("hi")))}, ErrWrongServer},
		"closes amid a greeting":  {Config{URL: "pulsar://" + listen(t, plain(t), answer(connected[:9]))}, ErrUnreachable},
		"an unknown authority":    {Config{URL: "pulsar+ssl://127.0.0.1:" + securePort}, ErrTLS},
		"another host's name":     {Config{URL: "pulsar+ssl://localhost:" + securePort, CAFile: ca}, ErrTLS},
		"not authenticated":       {Config{URL: refusing(codeAuthentication)}, ErrUnauthorized},
		"not authorized":          {Config{URL: refusing(codeAuthorization)}, ErrForbidden},
		"not ready":               {Config{URL: refusing(6)}, ErrUnreachable},
		"no scheme":               {Config{URL: "localhost:6650"}, ErrConfig},
		"web address":             {Config{URL: "http://localhost:8080"}, ErrConfig},
		"no host":                 {Config{URL: "pulsar://"}, ErrConfig},
		"admin address missing":   {Config{URL: good, AdminURL: "-"}, ErrConfig},
		"admin address is binary": {Config{URL: good, AdminURL: "pulsar://localhost:6650"}, ErrConfig},
		"admin with a password":   {Config{URL: good, AdminURL: "http://u:p@localhost"}, ErrConfig},
		"CA file missing":         {Config{URL: good, CAFile: filepath.Join(dir, "none")}, ErrConfig},
		"CA file empty":           {Config{URL: good, CAFile: empty}, ErrConfig},
		"token file missing":      {Config{URL: good, TokenFile: filepath.Join(dir, "none")}, ErrTokenFile},
		"token file empty":        {Config{URL: good, TokenFile: empty}, ErrTokenFile},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := c.cfg
			cfg.OperationTimeout = 20 * time.Second
			if cfg.URL == "pulsar://"+silent {
				cfg.OperationTimeout = time.Second
			}
			switch cfg.AdminURL {
			case "":
				cfg.AdminURL = "http://127.0.0.1:1/"
			case "-":
				cfg.AdminURL = ""
			}
			p, err := Dial(t.Context(), cfg)
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if err == nil {
				if p.maxMessageSize != 5<<20 || p.ServerVersion() != "Pulsar Server-4.0.8" || p.AdminURL() != "http://127.0.0.1:1" {
					t.Fatalf("%d, %q, %q", p.maxMessageSize, p.ServerVersion(), p.AdminURL())
				}
				p.Close()
				p.Close()
			} else if f := fault.Find(err); f.WhatToDo() == "" || strings.Contains(err.Error(), "u:p") {
				t.Fatalf("%v, remedy %q", err, f.WhatToDo())
			}
		})
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// restOf asks a web server that answers as told.
func restOf(t *testing.T, h http.HandlerFunc, cfg Config) (*Pulsar, *httptest.Server) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	cfg = cfg.withDefaults()
	p := &Pulsar{cfg: cfg, rest: newREST(s.URL, cfg, &tokenFile{path: cfg.TokenFile, log: cfg.Logger}), maxMessageSize: 1000}
	t.Cleanup(p.rest.close)
	return p, s
}

// A web server that knows no such page says nothing of a namespace.
func TestNamespaceOfAStranger(t *testing.T) {
	body := "404 page not found"
	p, _ := restOf(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(404)
		_, _ = io.WriteString(w, body)
	}, Config{})
	if _, err := p.CheckNamespace(t.Context(), "public/runnel", NamespacePolicy{}); !errors.Is(err, ErrWrongServer) {
		t.Error(err)
	}
	body = `{"reason":"Namespace does not exist"}`
	if have, err := p.CheckNamespace(t.Context(), "public/runnel", NamespacePolicy{}); err != nil || len(have) != 1 || !have[0].Missing() {
		t.Errorf("%+v, %v", have, err)
	}
}

func TestRESTFaults(t *testing.T) {
	topic := "persistent://public/runnel/order"
	for name, c := range map[string]struct {
		status int
		body   string
		want   error
	}{
		"missing":      {404, `{"reason":"Topic not found"}`, ErrTopicMissing},
		"deleted":      {200, `{"partitions":3,"deleted":true}`, ErrTopicMissing},
		"unauthorized": {401, `<html>HTTP ERROR 401</html>`, ErrUnauthorized},
		"not taken":    {401, `{"url":"/","status":"401","message":"Authentication required"}`, ErrUnauthorized},
		"no grant":     {401, `{"reason":"Unauthorized to validateTopicOperation for operation [LOOKUP]"}`, ErrForbidden},
		"forbidden":    {403, ``, ErrForbidden},
		"broken":       {500, `{"reason":"\u0000 java.lang.NullPointerException"}`, ErrAdmin},
		"not Pulsar":   {200, `<html>hello</html>`, ErrWrongServer},
		"fine":         {200, `{"partitions":3}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := restOf(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}, Config{})
			n, err := p.Partitions(t.Context(), topic)
			if !errors.Is(err, c.want) || (err == nil && n != 3) {
				t.Fatalf("%d, %v, want %v", n, err, c.want)
			}
		})
	}
	t.Run("nobody answers", func(t *testing.T) {
		p, s := restOf(t, nil, Config{})
		s.Close()
		if _, err := p.Partitions(t.Context(), topic); !errors.Is(err, ErrUnreachable) {
			t.Fatal(err)
		}
		if err := p.Health(t.Context()); !errors.Is(err, ErrUnreachable) {
			t.Fatal(err)
		}
	})
	t.Run("the binary port", func(t *testing.T) {
		address := listen(t, plain(t), func(c net.Conn) { _, _ = c.Read(make([]byte, 100)); _, _ = c.Write(connected) })
		cfg := Config{}.withDefaults()
		p := &Pulsar{cfg: cfg, rest: newREST("http://"+address, cfg, &tokenFile{})}
		defer p.rest.close()
		if _, err := p.Partitions(t.Context(), topic); !errors.Is(err, ErrWrongServer) {
			t.Fatal(err)
		}
	})
	t.Run("unhealthy", func(t *testing.T) {
		p, _ := restOf(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "nok") }, Config{})
		if err := p.Health(t.Context()); !errors.Is(err, ErrAdmin) {
			t.Fatal(err)
		}
	})
	t.Run("no tenant", func(t *testing.T) {
		p, _ := restOf(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			_, _ = io.WriteString(w, `{"reason":"Tenant does not exist"}`)
		}, Config{})
		_, err := p.EnsureNamespace(t.Context(), "none/such", NamespacePolicy{})
		if !errors.Is(err, ErrAdmin) || !strings.Contains(fault.Find(err).WhatToDo(), "tenants create none") {
			t.Fatal(err)
		}
	})
}

// A token file that changes is read again; the token goes along with
// redirects, but never from https to http.
func TestToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, "one")
	var seen []string
	second := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		_, _ = io.WriteString(w, `{"partitions":1}`)
	}))
	defer second.Close()
	moved := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, strings.Replace(second.URL, "127.0.0.1", "localhost", 1)+r.URL.Path, http.StatusTemporaryRedirect)
	}
	p, _ := restOf(t, moved, Config{TokenFile: file})
	for _, token := range []string{"one", "two"} {
		write(t, file, token+"\n")
		if _, err := p.Partitions(t.Context(), "persistent://public/runnel/order"); err != nil {
			t.Fatal(err)
		}
		if last := seen[len(seen)-1]; last != "Bearer "+token {
			t.Fatalf("the header is %q", last)
		}
	}
	secure := httptest.NewTLSServer(http.HandlerFunc(moved))
	defer secure.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	write(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})))
	cfg := Config{TokenFile: file, CAFile: ca}.withDefaults()
	q := &Pulsar{cfg: cfg, rest: newREST(secure.URL, cfg, &tokenFile{path: file, log: cfg.Logger})}
	defer q.rest.close()
	before := len(seen)
	if _, err := q.Partitions(t.Context(), "persistent://public/runnel/order"); err == nil || len(seen) != before {
		t.Fatalf("a redirect from https to http: %v", err)
	}
}

func TestSettleGivesUp(t *testing.T) {
	stats := `{"state":"LedgerOpened","pendingAddEntriesCount":1,"lastConfirmedEntry":"4:2","currentLedgerEntries":3,"ledgers":[{"ledgerId":4,"entries":0}]}`
	p, _ := restOf(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, stats) }, Config{OperationTimeout: 200 * time.Millisecond})
	if _, err := p.settle(t.Context(), Partition{Topic: "persistent://a/b/c"}); !errors.Is(err, ErrNotSettled) {
		t.Fatal(err)
	}
	// An entry that slipped in between the tail and the probe.
	stats = strings.Replace(stats, `Count":1`, `Count":0`, 1)
	settled, err := p.settle(t.Context(), Partition{Topic: "persistent://a/b/c"})
	if err != nil {
		t.Fatal(err)
	}
	check := p.probeCheck(Partition{Topic: "persistent://a/b/c"}, settled)
	for at, want := range map[entryID]error{{4, 3}: nil, {4, 4}: ErrNotSettled, {5, 0}: nil, {5, 1}: ErrNotSettled, {4, 2}: ErrNotSettled, {3, 0}: ErrNotSettled} {
		if err := check(context.Background(), at); !errors.Is(err, want) {
			t.Errorf("probe at %v: %v, want %v", at, err, want)
		}
	}
}

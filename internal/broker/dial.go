package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/prometheus/client_golang/prometheus"
)

// Pulsar is a connection to a Pulsar cluster. It is a Client and an Admin, and
// safe for concurrent use.
type Pulsar struct {
	cfg            Config
	client         pulsar.Client
	rest           *rest
	token          *tokenFile
	serverVersion  string
	maxMessageSize int // the broker's own, in bytes

	mu        sync.Mutex
	closed    bool
	producers map[*producer]struct{}
	others    map[closer]struct{} // readers and consumers
	pending   sync.WaitGroup      // what may still use the client: see Close

	events policyEvents // what a role without rights to policies reads instead
}

var (
	_ Client = (*Pulsar)(nil)
	_ Admin  = (*Pulsar)(nil)
)

// defaultMaxMessageSize is Pulsar's default of maxMessageSize, in bytes.
const defaultMaxMessageSize = 5 << 20

// Dial checks that a Pulsar broker answers at cfg.URL and accepts the
// credentials, and returns a connection. It does not ask the admin interface:
// see Pulsar.Health. Errors: ErrConfig, ErrUnreachable, ErrWrongServer,
// ErrTLS, ErrTokenFile, ErrUnauthorized, ErrForbidden.
func Dial(ctx context.Context, cfg Config) (*Pulsar, error) {
	cfg = cfg.withDefaults()
	endpoints, err := cfg.endpoints()
	if err != nil {
		return nil, err
	}
	base, err := cfg.adminBase()
	if err != nil {
		return nil, err
	}
	tlsConfig, err := cfg.tlsConfig()
	if err != nil {
		return nil, err
	}
	file := &tokenFile{path: cfg.TokenFile, log: cfg.Logger}
	token, err := file.token()
	if err != nil {
		return nil, err
	}
	hello, answered, err := firstGreeting(ctx, cfg, endpoints, tlsConfig, token)
	if err != nil {
		return nil, err
	}

	p := &Pulsar{
		cfg:            cfg,
		rest:           newREST(base, cfg, file),
		token:          file,
		serverVersion:  hello.ServerVersion,
		maxMessageSize: hello.MaxMessageSize,
		producers:      make(map[*producer]struct{}),
		others:         make(map[closer]struct{}),
	}
	if p.maxMessageSize <= 0 {
		p.maxMessageSize = defaultMaxMessageSize
	}
	options := pulsar.ClientOptions{
		URL:                     cfg.URL,
		ConnectionTimeout:       cfg.OperationTimeout,
		OperationTimeout:        cfg.OperationTimeout,
		KeepAliveInterval:       cfg.KeepAlive,
		TLSTrustCertsFilePath:   cfg.CAFile,
		TLSMinVersion:           minTLS,
		MaxConnectionsPerBroker: 1,
		Logger:                  clientLog{out: cfg.Logger, refused: p.refused},
		MetricsCardinality:      pulsar.MetricsCardinalityNone,
		MetricsRegisterer:       prometheus.NewRegistry(), // the default one is a global
		MemoryLimitBytes:        -1,                       // a producer's own bounds respect its caller's context
		Description:             cfg.Name,
	}
	if cfg.FirstHost {
		options.URL = answered.url()
	}
	if cfg.TokenFile != "" {
		options.Authentication = pulsar.NewAuthenticationTokenFromSupplier(file.token)
	}
	if p.client, err = pulsar.NewClient(options); err != nil {
		return nil, ErrConfig.Wrap(err, "creating the Pulsar client")
	}
	return p, nil
}

// firstGreeting asks the endpoints in turn. A silent one does not take the time of
// those behind it.
func firstGreeting(ctx context.Context, cfg Config, endpoints []endpoint, config *tls.Config, token string) (greeting, endpoint, error) {
	var failures []error
	for _, e := range endpoints {
		hello, err := greetWithin(ctx, cfg.OperationTimeout, e, config, token)
		if err == nil {
			return hello, e, nil
		}
		failures = append(failures, greetingFault(e, token, err))
	}
	if len(failures) == 1 {
		return greeting{}, endpoint{}, failures[0]
	}
	return greeting{}, endpoint{}, errors.Join(failures...)
}

func greetWithin(ctx context.Context, limit time.Duration, e endpoint, config *tls.Config, token string) (greeting, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return greet(ctx, e, config, token)
}

// greetingFault names what went wrong in words that a person can act on.
func greetingFault(e endpoint, token string, err error) error {
	var (
		refused *refusal
		record  tls.RecordHeaderError
		netErr  net.Error
	)
	switch {
	case errors.As(err, &refused):
		switch refused.code {
		case codeAuthentication:
			return ErrUnauthorized.New("%s refused the connection: %s (%s)", e.host, clip(refused.message), describeToken(token, time.Now()))
		case codeAuthorization:
			return ErrForbidden.New("%s refused the connection: %s", e.host, clip(refused.message))
		}
		return ErrUnreachable.New("%s refused the connection: %s", e.host, clip(refused.message))
	case errors.As(err, &record):
		return ErrWrongServer.New("%s does not speak TLS", e.host).
			Fix("Use pulsar:// with the plain port (6650), or the TLS port (6651) with pulsar+ssl://.")
	case tlsFault(err, "pulsar.url", "") != nil:
		return tlsFault(err, "pulsar.url", "connecting to %s", e.host)
	case errors.Is(err, errNotPulsar):
		return ErrWrongServer.Wrap(err, "connecting to %s", e.host)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		// A broker that starts or stops does this, too.
		return ErrUnreachable.Wrap(err, "%s closed the connection instead of greeting", e.host).
			Fix("If the broker is not restarting, check that the port is its binary port, and that plain (pulsar://) or TLS (pulsar+ssl://) is right for it.")
	case errors.As(err, &netErr) && netErr.Timeout():
		return ErrUnreachable.Wrap(err, "%s did not answer", e.host)
	}
	return ErrUnreachable.Wrap(err, "connecting to %s", e.host)
}

// ServerVersion returns what the broker calls itself, e.g. "Pulsar Server-4.0.8".
func (p *Pulsar) ServerVersion() string { return p.serverVersion }

// refused is told by the client's log that the broker refused a message. The
// client does not say whose, and will never run the message's callback: every
// producer of this connection stops.
func (p *Pulsar) refused(code, message string) {
	cause := refusedFault(code, message)
	p.mu.Lock()
	defer p.mu.Unlock()
	for q := range p.producers {
		q.fail(cause)
	}
}

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

	"github.com/runnel-cdc/runnel/internal/broker/wire"
)

// Pulsar is a connection to a Pulsar cluster. It is a Client and an Admin, and
// safe for concurrent use.
type Pulsar struct {
	cfg            Config
	wire           *wire.Client  // for producers
	client         pulsar.Client // for readers and consumers
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
	if _, err := cfg.tlsConfig(); err != nil {
		return nil, err
	}
	file := &tokenFile{path: cfg.TokenFile, log: cfg.Logger}
	token, err := file.token()
	if err != nil {
		return nil, err
	}
	connect := wire.Config{Hosts: endpoints, Name: cfg.clientVersion(), Token: file.token, TLS: cfg.tlsConfig, Timeout: cfg.OperationTimeout, KeepAlive: cfg.KeepAlive}
	hello, answered, err := firstGreeting(ctx, connect, token)
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
		Logger:                  clientLog{cfg.Logger},
		MetricsCardinality:      pulsar.MetricsCardinalityNone,
		MetricsRegisterer:       prometheus.NewRegistry(), // the default one is a global
		MemoryLimitBytes:        -1,                       // queues have limits of their own
		Description:             cfg.Name,
	}
	if cfg.FirstHost {
		options.URL = answered.String()
		connect.Hosts = []wire.Endpoint{answered}
	}
	if cfg.TokenFile != "" {
		options.Authentication = pulsar.NewAuthenticationTokenFromSupplier(file.token)
	}
	if p.client, err = pulsar.NewClient(options); err != nil {
		return nil, ErrConfig.Wrap(err, "creating the Pulsar client")
	}
	p.wire = wire.New(connect)
	return p, nil
}

// firstGreeting asks the endpoints in turn. A silent one does not take the time of
// those behind it.
func firstGreeting(ctx context.Context, cfg wire.Config, token string) (wire.Greeting, wire.Endpoint, error) {
	cfg.Token = func() (string, error) { return token, nil } // the one that an error describes
	var failures []error
	for _, e := range cfg.Hosts {
		hello, err := greetWithin(ctx, &cfg, e)
		if err == nil {
			return hello, e, nil
		}
		failures = append(failures, greetingFault(e, token, err))
	}
	if len(failures) == 1 {
		return wire.Greeting{}, wire.Endpoint{}, failures[0]
	}
	return wire.Greeting{}, wire.Endpoint{}, errors.Join(failures...)
}

func greetWithin(ctx context.Context, cfg *wire.Config, e wire.Endpoint) (wire.Greeting, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	return wire.Greet(ctx, cfg, e)
}

// greetingFault names what went wrong in words that a person can act on.
func greetingFault(e wire.Endpoint, token string, err error) error {
	var (
		refused *wire.ServerError
		record  tls.RecordHeaderError
		netErr  net.Error
	)
	switch {
	case errors.As(err, &refused):
		switch refused.Code {
		case wire.AuthenticationError:
			return ErrUnauthorized.New("%s refused the connection: %s (%s)", e.Host, clip(refused.Message), describeToken(token, time.Now()))
		case wire.AuthorizationError:
			return ErrForbidden.New("%s refused the connection: %s", e.Host, clip(refused.Message))
		}
		return ErrUnreachable.New("%s refused the connection: %s", e.Host, clip(refused.Message))
	case errors.As(err, &record):
		return ErrWrongServer.New("%s does not speak TLS", e.Host).
			Fix("Use pulsar:// with the plain port (6650), or the TLS port (6651) with pulsar+ssl://.")
	case tlsFault(err, "pulsar.url", "") != nil:
		return tlsFault(err, "pulsar.url", "connecting to %s", e.Host)
	case errors.Is(err, wire.ErrProtocol):
		return ErrWrongServer.Wrap(err, "connecting to %s", e.Host)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		// A broker that starts or stops does this, too.
		return ErrUnreachable.Wrap(err, "%s closed the connection instead of greeting", e.Host).
			Fix("If the broker is not restarting, check that the port is its binary port, and that plain (pulsar://) or TLS (pulsar+ssl://) is right for it.")
	case errors.As(err, &netErr) && netErr.Timeout():
		return ErrUnreachable.Wrap(err, "%s did not answer", e.Host)
	}
	return ErrUnreachable.Wrap(err, "connecting to %s", e.Host)
}

// ServerVersion returns what the broker calls itself, e.g. "Pulsar Server-4.0.8".
func (p *Pulsar) ServerVersion() string { return p.serverVersion }

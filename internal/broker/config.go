package broker

import (
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker/wire"
)

// Config says how to reach a Pulsar cluster. The zero value of everything but
// the two addresses is good.
type Config struct {
	URL      string // pulsar://host:port or pulsar+ssl://host:port; several hosts: host1:port,host2:port
	AdminURL string // http://host:port or https://host:port

	// TokenFile holds a token (JWT). It is read again for each connection, each
	// request, and when the broker asks for a newer one. Default: none is shown.
	TokenFile string
	// CAFile holds the authorities to trust (PEM), read again for each
	// connection. Default: the system's.
	CAFile string

	Logger *slog.Logger // default: none
	Name   string       // shown in the broker's statistics, e.g. "runnel shop"
	// Properties are shown there with every consumer: see SubscriptionConsumer.
	Properties map[string]string

	// FirstHost leads all of the connection to the first host of URL that answers now: for
	// whoever dials anew when the connection is lost. Default: the hosts are taken in
	// turn, and behind Pulsar proxies that is for each producer and reader, so that one
	// dead host of two holds half of them up, or fails them.
	FirstHost bool

	OperationTimeout time.Duration // of one request to the broker; default 15 s
	KeepAlive        time.Duration // a silent connection is dropped after twice this; default 5 s

	MaxPending      int   // messages in flight per producer; default 16,384
	Compress        bool  // batches of messages, by LZ4, where that makes them smaller
	MaxPendingBytes int64 // payload bytes in flight per producer (one message may exceed it); default 32 MiB
	ReceiveQueue    int   // messages fetched ahead per consumer or reader; default 1,000
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&c.OperationTimeout, 15*time.Second)
	setDefault(&c.KeepAlive, 5*time.Second)
	setDefault(&c.MaxPending, 16384)
	setDefault(&c.MaxPendingBytes, 32<<20)
	setDefault(&c.ReceiveQueue, 1000)
	return c
}

func setDefault[T int | int64 | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// endpoints reads Config.URL.
func (c Config) endpoints() ([]wire.Endpoint, error) {
	scheme, rest, ok := strings.Cut(c.URL, "://")
	if !ok || (scheme != "pulsar" && scheme != "pulsar+ssl") {
		return nil, ErrConfig.New("pulsar.url %q does not start with pulsar:// or pulsar+ssl://", redactURL(c.URL))
	}
	port := ":6650"
	if scheme == "pulsar+ssl" {
		port = ":6651"
	}
	rest, _, _ = strings.Cut(rest, "/")
	var all []wire.Endpoint
	for host := range strings.SplitSeq(rest, ",") {
		u, err := url.Parse("pulsar://" + host)
		if err != nil || u.Hostname() == "" || u.User != nil {
			return nil, ErrConfig.New("pulsar.url holds no usable host name (given: %d characters)", len(host))
		}
		if u.Port() == "" {
			host += port
		}
		all = append(all, wire.Endpoint{Host: host, TLS: scheme == "pulsar+ssl"})
	}
	return all, nil
}

// clientVersion is what the broker's statistics show of a connection.
func (c Config) clientVersion() string { return strings.TrimSpace("Runnel " + c.Name) }

// adminBase returns Config.AdminURL without a trailing slash.
func (c Config) adminBase() (string, error) {
	u, err := url.Parse(c.AdminURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
		return "", ErrConfig.New("pulsar.admin_url %q is not an http:// or https:// address", redactURL(c.AdminURL))
	}
	return u.Scheme + "://" + u.Host + strings.TrimRight(u.Path, "/"), nil
}

// redactURL drops what may be a password.
func redactURL(text string) string {
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			rest = "***" + rest[at:]
		}
		text = scheme + "://" + rest
	}
	if len(text) > 200 {
		text = text[:200]
	}
	return text
}

package wire

import (
	"context"
	"errors"
	"fmt"
	"net/url"
)

// maxRedirects bounds a lookup: brokers that send each other the question are
// electing an owner, or are broken.
const maxRedirects = 20

// lookup asks which broker serves a topic and returns a connection to it (spec,
// "Topic lookup"). A host that cannot be connected to is passed over.
func (c *Client) lookup(ctx context.Context, topic string) (*conn, error) {
	var failures []error
	turn := int(c.turn.Add(1)) - 1
	for i := range c.cfg.Hosts {
		host := c.cfg.Hosts[(turn+i)%len(c.cfg.Hosts)]
		at := route{at: host}
		conn, err := c.connection(ctx, at)
		if err == nil {
			return c.follow(ctx, conn, at, topic)
		}
		failures = append(failures, err)
		if ctx.Err() != nil || errors.Is(err, ErrClosed) {
			break
		}
	}
	if len(failures) == 1 {
		return nil, failures[0]
	}
	return nil, errors.Join(failures...)
}

// follow asks at, and whoever it names, until one says where to connect.
func (c *Client) follow(ctx context.Context, conn *conn, at route, topic string) (*conn, error) {
	authoritative := false
	for range maxRedirects {
		a, err := conn.request(ctx, func(request uint64) []byte {
			return appendLookup(nil, request, topic, authoritative)
		})
		if err != nil {
			return nil, err
		}
		if a.kind != cmdLookupAnswer {
			return nil, ErrProtocol
		}
		next, err := a.lookup.route(at.at)
		if err != nil {
			return nil, err
		}
		if next != at {
			if conn, err = c.connection(ctx, next); err != nil {
				return nil, err
			}
			at = next
		}
		switch a.lookup.kind {
		case lookupConnect:
			return conn, nil
		case lookupRedirect:
			authoritative = a.lookup.authoritative
		default:
			return nil, ErrProtocol
		}
	}
	return nil, fmt.Errorf("the brokers sent the question for %s's owner on more than %d times", topic, maxRedirects)
}

// route says where an answer of asked leads. TLS is kept: with it, an address
// without is no answer.
func (l *lookupAnswer) route(asked Endpoint) (route, error) {
	address, scheme := l.url, "pulsar"
	if asked.TLS {
		address, scheme = l.urlTLS, "pulsar+ssl"
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != scheme || u.Hostname() == "" || u.Port() == "" || u.User != nil {
		return route{}, fmt.Errorf("%w: the lookup's answer %.100q is no address that starts with %s://", ErrProtocol, address, scheme)
	}
	if !l.proxy {
		return route{at: Endpoint{u.Host, asked.TLS}}, nil
	}
	// The proxy forwards everything on a connection to one broker, which CONNECT names.
	return route{at: asked, broker: u.Host}, nil
}

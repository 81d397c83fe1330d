package broker

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// DropNamespace deletes a namespace with everything in it: topics, data, schemas.
// One that does not exist is no error. It is for the demo and for tests.
func (p *Pulsar) DropNamespace(ctx context.Context, namespace string) error {
	path := "/namespaces/" + namespace
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		for _, kind := range []string{"/partitioned", ""} {
			var topics []string
			if _, err := p.rest.call(ctx, http.MethodGet, "/persistent/"+namespace+kind, nil, &topics); err != nil {
				if status(err) == http.StatusNotFound {
					return nil
				}
				return err
			}
			for _, topic := range topics {
				at, err := topicPath(topic)
				if err != nil {
					return err
				}
				at += strings.Replace(kind, "/partitioned", "/partitions", 1)
				// What can't be deleted yet keeps the namespace from going.
				_, _ = p.rest.call(ctx, http.MethodDelete, at+"?force=true", nil, nil)
			}
		}
		_, err := p.rest.call(ctx, http.MethodDelete, path, nil, nil)
		if err == nil || status(err) == http.StatusNotFound {
			return nil
		}
		// A producer that reconnects meanwhile makes the broker answer with a
		// conflict: it is repeated until ctx ends.
		if !sleep(ctx, pause) {
			return err
		}
	}
}

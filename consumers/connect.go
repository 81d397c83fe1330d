package consumers

import (
	"context"
	"errors"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/schemas"
)

// connector opens a connection to a broker and to its schema registry.
type connector func(context.Context, BrokerConfig) (broker.Client, registry, error)

// connectPulsar connects to Pulsar.
func connectPulsar(ctx context.Context, b BrokerConfig) (broker.Client, registry, error) {
	client, err := broker.Dial(ctx, broker.Config{
		URL: b.URL, AdminURL: b.AdminURL, TokenFile: b.TokenFile, CAFile: b.CAFile,
		Logger: b.Logger, Name: b.name, Properties: b.reader.Properties(),
	})
	if err != nil {
		return nil, nil, err
	}
	return client, schemas.NewRegistry(client.AdminURL(), client.HTTP()), nil
}

// open connects, waiting for a broker that does not answer. Any other error,
// such as refused credentials, is for a person.
func (b BrokerConfig) open(ctx context.Context, sleep sleeper) (broker.Client, registry, error) {
	wait := outage{what: "connecting to the broker", log: b.Logger, sleep: sleep}
	for {
		client, registry, err := b.connect(ctx, b)
		switch {
		case err == nil:
			wait.over()
			return client, registry, nil
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		case !errors.Is(err, broker.ErrUnreachable):
			return nil, nil, err
		}
		if err := wait.wait(ctx, err); err != nil {
			return nil, nil, err
		}
	}
}

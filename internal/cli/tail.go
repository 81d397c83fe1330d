package cli

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/tail"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/schemas"
)

type tailFlags struct {
	topics    []string
	eventType string
	key       string
	last      int
	from      string
	follow    bool
}

func tailSpec() *spec {
	var f tailFlags
	return &spec{
		use:   "tail",
		short: "Show events as they pass, decoded",
		long: `Shows events from the topics, decoded, in the order of their positions: the last
10, or the last N, or all from a position; with --follow also those to come.
Filters apply before the last N are counted. A line is the time at which the event
occurred, topic/partition#ordinal, type, key and the event as JSON.

With -o json each event is one JSON line on standard output:
{topic, partition, ordinal, position, id, type, key, occurred_at, headers,
schema_version, event}; a message that cannot be decoded has "error" instead of
"event". There is no envelope; only an error is reported in one, on standard
error. It needs no database and leaves nothing behind in the topics.

The event is the same JSON in both, and what runnel.publish takes: a field that
may be null is null or its plain value; a choice among several types is named, as
in {"long": 7}; decimals and times are text.

` + positionHelp + `
--from takes one with or without the ordinal.`,
		example: `  runnel tail --follow
  runnel tail --topic order --type 'Order*' -n 100
  runnel tail --from earliest --key 42 -o json | jq .event`,
		flags: func(cmd *cobra.Command) {
			fs := cmd.Flags()
			fs.StringSliceVar(&f.topics, "topic", nil, "only the topic `name`, local or full (repeatable); default: all of the namespace")
			fs.StringVar(&f.eventType, "type", "", "only event types that match the `glob`")
			fs.StringVar(&f.key, "key", "", "only the aggregate `id`")
			fs.IntVarP(&f.last, "last", "n", 10, "the last `N` events")
			fs.StringVar(&f.from, "from", "", "all from `earliest`, or from a position on")
			fs.BoolVarP(&f.follow, "follow", "f", false, "go on with the events to come")
			completeFrom(cmd, "from", "earliest")
		},
		run: func(ctx context.Context, c *call) (any, error) { return nil, runTail(ctx, c, f) },
	}
}

func runTail(ctx context.Context, c *call, f tailFlags) error {
	c.streaming = c.output == "json"
	options, err := tailOptions(c, f)
	if err != nil {
		return err
	}
	cfg, err := c.config("pulsar.url", "pulsar.admin_url")
	if err != nil {
		return err
	}
	client, err := c.deps.dial(ctx, cfg)
	if err != nil {
		return err
	}
	defer client.Close()
	if options.Topics, err = tailTopics(ctx, client, cfg, f.topics); err != nil {
		return err
	}
	out := newPrinter(c.app, c.stdout)
	decoder := tail.NewDecoder(schemas.NewRegistry(client.AdminURL(), client.HTTP()))
	return tail.Run(ctx, client, options, func(m *broker.Incoming) error {
		e := decoder.Decode(ctx, m)
		if c.output == "json" {
			return tail.WriteJSON(c.stdout, e)
		}
		writeEvent(out, e)
		return out.err
	})
}

var topicName = regexp.MustCompile(`^persistent://[^/]+/[^/]+/[^/]+$`)

func tailOptions(c *call, f tailFlags) (tail.Options, error) {
	o := tail.Options{Type: f.eventType, Key: f.key, Last: f.last, Follow: f.follow}
	if _, err := path.Match(f.eventType, ""); err != nil {
		return o, ErrUsage.New("--type %.60q is no glob", f.eventType).Fix("Globs may use * ? and [a-z].")
	}
	if f.last < 0 || f.last > tail.MaxLast {
		return o, ErrUsage.New("--last %d is not between 0 and %d", f.last, tail.MaxLast).Fix("For more, use --from earliest.")
	}
	for _, name := range f.topics {
		if strings.Contains(name, "://") && !topicName.MatchString(name) {
			return o, ErrUsage.New("--topic %.200q is no topic", name).Fix("Give the local name, such as order, or persistent://tenant/namespace/name.")
		}
	}
	if f.from == "" {
		return o, nil
	}
	if c.cmd.Flags().Changed("last") {
		return o, ErrUsage.New("--from and --last exclude each other").Fix("Give one of them.")
	}
	o.All = true
	if f.from == "earliest" {
		return o, nil
	}
	var err error
	if o.From, err = position.Parse(f.from); err != nil {
		stamp, stampErr := position.ParseStamp(f.from)
		if stampErr != nil {
			return o, ErrUsage.New("--from %.80q is no position", f.from).
				Fix("Give earliest, or a position as `runnel tail -o json` and `runnel status` show it: 00000001-0000000001bb82ed-00000000-0000000000000001.")
		}
		o.From = stamp.Position
	}
	return o, nil
}

// tailTopics returns full names; without any asked for, the namespace's.
func tailTopics(ctx context.Context, client tailClient, cfg *config.Config, asked []string) ([]string, error) {
	if len(asked) == 0 {
		topics, err := tail.Topics(ctx, client, cfg.Topics.Namespace)
		if err == nil && len(topics) == 0 {
			err = ErrTopicUnknown.New("the namespace %s has no topics", cfg.Topics.Namespace)
		}
		return topics, err
	}
	var topics []string
	for _, name := range asked {
		if !strings.Contains(name, "://") {
			name = wire.TopicName(cfg.Topics.Namespace, name)
		}
		topics = append(topics, name)
	}
	return topics, nil
}

// tailClient is what tail needs of the broker.
type tailClient interface {
	tail.Broker
	Close()
}

func dialTail(ctx context.Context, cfg *config.Config) (tailClient, error) {
	b := wire.Broker(cfg)
	b.ReceiveQueue = 100
	client, err := broker.Dial(ctx, b)
	if err != nil { // a nil *Pulsar must not become an interface
		return nil, err
	}
	return client, nil
}

// writeEvent writes one line for people.
func writeEvent(p *printer, e tail.Event) {
	local := e.Topic[strings.LastIndexByte(e.Topic, '/')+1:]
	when := "-"
	if e.OccurredAt != nil {
		when = e.OccurredAt.Local().Format("15:04:05.000")
	}
	body := string(e.Event)
	if e.Error != "" {
		body = p.paint(red, e.Error)
	}
	p.line("%s %s %s %s %s", p.paint(faint, when), p.paint(faint, clean(fmt.Sprintf("%s/%d#%d", local, e.Partition, e.Ordinal))),
		p.paint(bold, clean(e.Type)), clean(e.Key), clean(body))
}

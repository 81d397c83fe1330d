package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/child"
)

// The variables that peer/setup sets.
const (
	peerFolder = "BENCH_DEBEZIUM"
	peerJava   = "BENCH_JAVA"
)

// The peer, and what else is set for the tuned one.
const (
	systemPeer  = "debezium"
	systemTuned = "debezium tuned"
)

var peerSettings = map[string]string{
	systemPeer: "",
	systemTuned: `debezium.source.offset.flush.interval.ms=1000
debezium.source.poll.interval.ms=5
debezium.source.max.batch.size=8192
debezium.source.max.queue.size=32768
debezium.source.record.processing.threads=2
debezium.sink.pulsar.producer.batchingMaxMessages=1000
`,
}

// peerTopic is where its events go: to one partition, as it knows no aggregates.
const peerTopic = "order"

// peerTable is the outbox that its event router reads.
const peerTable = `create table outbox (id uuid primary key, aggregatetype text, aggregateid text, type text, payload bytea);
create publication dbz_pub for table outbox with (publish = 'insert');
create procedure bench_fill(first bigint, n bigint, per bigint, payload bytea, at int, type text, encoding int, fingerprint bytea)
language plpgsql as $$ begin
	for i in 0..(n + per - 1) / per - 1 loop
		insert into outbox (id, aggregatetype, aggregateid, type, payload)
			select gen_random_uuid(), 'order', 'order-' || k % 10000, type, overlay(payload placing convert_to(lpad(k::text, 12, '0'), 'UTF8') from at + 1)
			from generate_series(first + i * per, least(first + i * per + per, first + n) - 1) k;
		commit;
	end loop;
end $$`

// insertPeer is insertTimed for it. It takes the same arguments.
const insertPeer = `insert into outbox (id, aggregatetype, aggregateid, type, payload)
	select gen_random_uuid(), 'order', 'order-' || k % 10000, $3, overlay($5::bytea placing convert_to(lpad(k::text, 12, '0'), 'UTF8') from $6 + 1)
	from generate_series($1::bigint, $2::bigint) k where $4::bytea is not null`

// newPeerSource makes a database with an outbox for the peer.
func (r *rig) newPeerSource(ctx context.Context, name string) (*source, error) {
	if err := execute(ctx, r.stack.PostgresURL, "create database "+pgx.Identifier{name}.Sanitize()); err != nil {
		return nil, err
	}
	address, err := address(r.stack.PostgresURL, name, nil)
	if err != nil {
		return nil, err
	}
	s := &source{url: address, event: r.event, insert: insertPeer}
	return s, execute(ctx, s.url, peerTable)
}

// preparePeer makes slot and topic: a slot from before the rows, as everybody has.
func (r *rig) preparePeer(ctx context.Context, s *source, name string) error {
	for _, c := range []struct{ method, path, body string }{
		{http.MethodPut, "namespaces/" + namespace(name), "{}"},
		{http.MethodPost, "namespaces/" + namespace(name) + "/retention", `{"retentionTimeInMinutes": -1, "retentionSizeInMB": -1}`},
		{http.MethodPut, "persistent/" + namespace(name) + "/" + peerTopic + "/partitions", "1"},
	} {
		request, err := http.NewRequestWithContext(ctx, c.method, r.stack.PulsarAdminURL+"/admin/v2/"+c.path, strings.NewReader(c.body))
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		_ = response.Body.Close()
		if response.StatusCode/100 != 2 {
			return fmt.Errorf("%s %s: %s", c.method, c.path, response.Status)
		}
	}
	return execute(ctx, s.url, fmt.Sprintf("select pg_create_logical_replication_slot('%s', 'pgoutput')", name))
}

// withPeer reports whether the peer drains a backlog, too.
func (r *rig) withPeer(c *DrainCase) bool { return r.Peer && c.Encoding == Avro && c.PerTx == 10 }

func peerName(c *DrainCase, system string, round int) string {
	return fmt.Sprintf("%s_%s_%d", c.name(), strings.ReplaceAll(system, " ", "_"), round)
}

// fillPeer makes a backlog for the peer: the same payloads in the same transactions.
func (r *rig) fillPeer(ctx context.Context, c *DrainCase) (*source, error) {
	s, err := r.newPeerSource(ctx, c.name()+"_peer")
	if err != nil {
		return nil, err
	}
	for round := range r.Rounds {
		for _, system := range []string{systemPeer, systemTuned} {
			if err := r.preparePeer(ctx, s, peerName(c, system, round)); err != nil {
				return nil, err
			}
		}
	}
	return s, s.fill(ctx, c.Encoding, payloadBytes, c.Rows, c.PerTx)
}

// peer is Debezium Server.
type peer struct {
	*child.Process
	log     string
	stats   string // address of the topic's statistics
	client  http.Client
	started time.Time
}

// startPeer starts it on what preparePeer has made.
func (r *rig) startPeer(s *source, name, system string) (*peer, error) {
	folder, java := os.Getenv(peerFolder), os.Getenv(peerJava)
	if folder == "" || java == "" {
		return nil, errors.New("the peer is not set up: run `make bench-peer`")
	}
	u, err := url.Parse(s.url)
	if err != nil {
		return nil, errors.New("the address of Postgres is not a URL")
	}
	password, _ := u.User.Password()
	config := filepath.Join(r.dir, name+".properties")
	if err := os.WriteFile(config, []byte(r.peerConfig(u, name)+peerSettings[system]), 0o600); err != nil {
		return nil, err
	}
	p := &peer{log: filepath.Join(r.dir, name+".log"),
		stats: fmt.Sprintf("%s/admin/v2/persistent/%s/%s-partition-0/stats", r.stack.PulsarAdminURL, namespace(name), peerTopic)}
	runner, err := filepath.Glob(filepath.Join(folder, "debezium-server-*runner.jar"))
	if err != nil || len(runner) != 1 {
		return nil, fmt.Errorf("%s holds no Debezium Server", folder)
	}
	// As its run.sh does, but as a child of our own.
	cmd := exec.Command(java, "-Djava.io.tmpdir="+r.dir, "-Dquarkus.config.locations="+config, "-cp", strings.Join([]string{runner[0], "config/lib", "lib/*"}, ":"), "io.debezium.server.Main")
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "DEBEZIUM_SOURCE_DATABASE_PASSWORD="+password)
	p.started = time.Now()
	p.Process, err = launch(cmd, p.log)
	return p, err
}

func (r *rig) peerConfig(u *url.URL, name string) string {
	return fmt.Sprintf(`debezium.source.connector.class=io.debezium.connector.postgresql.PostgresConnector
debezium.source.database.hostname=%s
debezium.source.database.port=%s
debezium.source.database.user=%s
debezium.source.database.dbname=%s
debezium.source.topic.prefix=bench
debezium.source.plugin.name=pgoutput
debezium.source.slot.name=%s
debezium.source.publication.name=dbz_pub
debezium.source.publication.autocreate.mode=disabled
debezium.source.table.include.list=public.outbox
debezium.source.snapshot.mode=no_data
debezium.source.tombstones.on.delete=false
debezium.source.offset.storage.file.filename=%s
debezium.transforms=outbox
debezium.transforms.outbox.type=io.debezium.transforms.outbox.EventRouter
debezium.transforms.outbox.table.fields.additional.placement=type:header:eventType
debezium.transforms.outbox.route.topic.replacement=$${routedByValue}
debezium.format.key=simplestring
debezium.format.value=binary
debezium.format.header=json
debezium.format.header.schemas.enable=false
debezium.sink.type=pulsar
debezium.sink.pulsar.client.serviceUrl=%s
debezium.sink.pulsar.producer.blockIfQueueFull=true
debezium.sink.pulsar.tenant=public
debezium.sink.pulsar.namespace=%s
quarkus.http.port=0
quarkus.log.level=WARN
`, u.Hostname(), u.Port(), u.User.Username(), strings.TrimPrefix(u.Path, "/"), name,
		filepath.Join(r.dir, name+".offsets"), r.stack.PulsarURL, strings.TrimPrefix(namespace(name), "public/"))
}

// published asks the broker, as Debezium does not tell.
func (p *peer) published(ctx context.Context) (int, error) {
	if !p.Alive() {
		return 0, fmt.Errorf("debezium: %w; its log ends:\n%s", cmp.Or(p.Err(), errors.New("it ended")), lastLines(p.log))
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.stats, nil)
	if err != nil {
		return 0, err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	var stats struct {
		MsgInCounter int `json:"msgInCounter"`
	}
	return stats.MsgInCounter, json.NewDecoder(response.Body).Decode(&stats)
}

func (p *peer) begun() time.Time { return p.started }

func (p *peer) stop(ctx context.Context) error { return stop(ctx, p.Process, p.log) }

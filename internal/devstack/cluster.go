package devstack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// ClusterOptions say what a Cluster is made of.
type ClusterOptions struct {
	// Bookies is how many there are. Default: 3.
	Bookies int
	// Ensemble is how many of them hold an entry, Ack how many must have written it
	// before it is acknowledged. Default: 3 and 2. With as many bookies as an ensemble
	// has, none can take the place of one that fails.
	Ensemble, Ack int
	// Session is how long ZooKeeper keeps the session of a server that it does not
	// hear of. Default: 10 seconds, that the loss of one is soon seen; Pulsar's is 30.
	Session time.Duration
	// Timeout is how long one server may take to be ready. Default: 2 minutes.
	Timeout time.Duration
	// Progress, if not nil, is told in a few words what happens. It is called from one
	// goroutine at a time.
	Progress func(text string)
}

func (o ClusterOptions) withDefaults() ClusterOptions {
	o.Bookies = cmp.Or(o.Bookies, 3)
	o.Ensemble = cmp.Or(o.Ensemble, 3)
	o.Ack = cmp.Or(o.Ack, 2)
	o.Session = cmp.Or(o.Session, 10*time.Second)
	o.Timeout = cmp.Or(o.Timeout, 2*time.Minute)
	return o
}

// Cluster is a Pulsar of several processes, each of which can fail alone: one
// ZooKeeper, bookies, one broker. It ends with this process, however that ends, and
// its data are removed. For tests: `runnel dev` and the demo use a Stack.
type Cluster struct {
	PulsarURL      string
	PulsarAdminURL string

	ZooKeeper *Member
	Bookies   []*Member
	Broker    *Member

	o     ClusterOptions
	home  string // the unpacked distribution
	stack *Stack // its folder, guard and voice; it has no servers of its own
}

// UpCluster starts a cluster in a new folder, and returns when the broker can publish.
// When it fails or ctx ends, what it started is ended again.
func UpCluster(ctx context.Context, o ClusterOptions) (*Cluster, error) {
	c, err := newCluster(o)
	if err != nil {
		return nil, err
	}
	if err := c.up(ctx); err != nil {
		return nil, errors.Join(err, c.Down())
	}
	return c, nil
}

// newCluster prepares a cluster, and starts nothing but the guard.
func newCluster(o ClusterOptions) (*Cluster, error) {
	o = o.withDefaults()
	if o.Bookies < o.Ensemble || o.Ensemble < o.Ack {
		return nil, ErrStart.New("%d bookies, %d of them in an ensemble, %d to acknowledge", o.Bookies, o.Ensemble, o.Ack).
			Fix("Give as many bookies as an ensemble has, or more.")
	}
	home, err := PulsarHome()
	if err != nil {
		return nil, err
	}
	c := &Cluster{o: o, home: home, stack: &Stack{ephemeral: true, timeout: o.Timeout, tell: o.Progress}}
	if err := c.stack.open(""); err != nil {
		return nil, errors.Join(err, c.stack.guard.release())
	}
	if err := c.prepare(); err != nil {
		return nil, errors.Join(ErrFolder.Wrap(err, "prepare a cluster").At("%s", c.stack.dir), c.Down())
	}
	return c, nil
}

func (c *Cluster) up(ctx context.Context) error {
	if err := c.upMetadata(ctx); err != nil {
		return err
	}
	err := c.stack.report(fmt.Sprintf("%d bookies", len(c.Bookies)), func() error {
		g, ctx := errgroup.WithContext(ctx)
		for _, b := range c.Bookies {
			g.Go(func() error { return b.Start(ctx) })
		}
		return g.Wait()
	})
	if err != nil {
		return err
	}
	return c.stack.report("the broker", func() error { return c.Broker.Start(ctx) })
}

// upMetadata starts the metadata service, with what servers expect to find in it.
func (c *Cluster) upMetadata(ctx context.Context) error {
	if err := c.stack.report("ZooKeeper", func() error { return c.ZooKeeper.Start(ctx) }); err != nil {
		return err
	}
	return c.stack.report("the cluster's metadata", func() error { return c.initialize(ctx) })
}

// prepare chooses the ports and writes the settings.
func (c *Cluster) prepare() error {
	ports, err := freePorts(3 + c.o.Bookies)
	if err != nil {
		return err
	}
	broker, web, zookeeper := ports[0], ports[1], ports[2]
	c.PulsarURL = fmt.Sprintf("pulsar://127.0.0.1:%d", broker)
	c.PulsarAdminURL = fmt.Sprintf("http://127.0.0.1:%d", web)
	c.stack.PulsarURL, c.stack.PulsarAdminURL = c.PulsarURL, c.PulsarAdminURL
	if err := os.MkdirAll(filepath.Join(c.dir(), "tmp"), 0o700); err != nil {
		return err
	}
	metadata := fmt.Sprintf("zk:127.0.0.1:%d", zookeeper)
	files := map[string]string{
		"zookeeper.conf": c.zooKeeperSettings(zookeeper),
		"broker.conf":    c.brokerSettings(metadata, broker, web),
	}
	c.ZooKeeper = c.member("zookeeper", "-Xmx128m", "PULSAR_ZK_CONF", zookeeper)
	// What waits for a disk that does not answer waits in a bookie's direct memory, which
	// it ends for want of.
	const bookieMemory = "-Xmx192m -XX:MaxDirectMemorySize=768m"
	for i := range c.o.Bookies {
		name, port := fmt.Sprintf("bookie-%d", i), ports[3+i]
		files[name+".conf"] = c.bookieSettings(metadata, filepath.Join(c.dir(), name), port)
		c.Bookies = append(c.Bookies, c.member(name, bookieMemory, "PULSAR_BOOKKEEPER_CONF", port))
	}
	c.Broker = c.member("broker", "-Xmx512m -XX:MaxDirectMemorySize=384m", "PULSAR_BROKER_CONF", broker, web)
	c.Broker.ready = c.stack.pulsarAnswers
	err = writeZooKeeperLogin(c.dir())
	for name, text := range files {
		err = errors.Join(err, replaceFile(filepath.Join(c.dir(), name), []byte(text)))
	}
	return err
}

// dir is the folder of everything in it.
func (c *Cluster) dir() string { return filepath.Join(c.stack.dir, pulsarDir) }

// member is a server whose settings are NAME.conf. It is ready when its port is open.
func (c *Cluster) member(name, memory, conf string, ports ...int) *Member {
	command, _, _ := strings.Cut(name, "-") // bookie-0
	m := &Member{c: c, name: name, command: command, ports: ports,
		env: append(pulsarEnvironment(c.dir(), memory), conf+"="+filepath.Join(c.dir(), name+".conf"))}
	m.ready = func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0])))
		if err == nil {
			err = conn.Close()
		}
		return err
	}
	return m
}

// initialize writes what a cluster has in its metadata before any server is started.
func (c *Cluster) initialize(ctx context.Context) error {
	metadata := fmt.Sprintf("zk:127.0.0.1:%d", c.ZooKeeper.ports[0])
	cmd := exec.Command(filepath.Join(c.home, "bin", "pulsar"), "initialize-cluster-metadata", "--cluster", clusterName,
		"--metadata-store", metadata, "--configuration-metadata-store", metadata,
		"--web-service-url", c.PulsarAdminURL, "--broker-service-url", c.PulsarURL)
	cmd.Dir = c.dir()
	cmd.Env = pulsarEnvironment(c.dir(), "-Xmx128m")
	log := filepath.Join(c.dir(), "initialize.log")
	p, done, err := launch(cmd, log)
	if err != nil {
		return ErrStart.Wrap(err, "the cluster's metadata")
	}
	if err := c.stack.guard.kill(p, "KILL"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = errors.Join(ctx.Err(), p.end(ctx, killed))
	}
	if err != nil {
		return ErrStart.Wrap(err, "the cluster's metadata:\n%s", tail(log)).At("%s", log)
	}
	return nil
}

// Down ends the servers by force, and removes their data. Calling it again does nothing.
func (c *Cluster) Down() error {
	var g errgroup.Group
	for _, m := range c.members() {
		g.Go(m.Kill)
	}
	if err := g.Wait(); err != nil {
		return err // the guard stays on duty
	}
	return errors.Join(removeOurs(c.stack.dir, state{}), c.stack.guard.release())
}

// members are those there are, also when prepare failed.
func (c *Cluster) members() (all []*Member) {
	for _, m := range append([]*Member{c.Broker, c.ZooKeeper}, c.Bookies...) {
		if m != nil {
			all = append(all, m)
		}
	}
	return all
}

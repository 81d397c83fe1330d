package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/runnel-cdc/runnel/deploy"
)

// preparePulsar finds the distribution and chooses ports for a new stack. The
// ports stay with the data: the bookie's is its name in the ledgers.
func (s *Stack) preparePulsar() (*pulsarState, error) {
	home, err := PulsarHome()
	if err != nil {
		return nil, err
	}
	p := &pulsarState{}
	if s.state.Pulsar != nil {
		*p = *s.state.Pulsar // a copy: the state may be saved meanwhile
	} else {
		ports, err := freePorts(4)
		if err != nil {
			return nil, err
		}
		p = &pulsarState{Broker: ports[0], Web: ports[1], Bookie: ports[2], ZooKeeper: ports[3]}
	}
	p.Home = home
	dir := filepath.Join(s.dir, pulsarDir)
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "tmp"), 0o700), s.writePulsarFiles(dir, p)); err != nil {
		return nil, ErrFolder.Wrap(err, "write Pulsar's settings").At("%s", s.dir)
	}
	return p, nil
}

// writePulsarFiles writes the settings with this stack's ports, and a fresh
// password for ZooKeeper. Standalone binds ZooKeeper's port to all addresses
// and offers no way to change that: a session without the password is closed.
func (s *Stack) writePulsarFiles(dir string, p *pulsarState) error {
	secure, err := s.secure.writePulsar(dir)
	if err != nil {
		return err
	}
	standalone, err := s.withDisk(deploy.PulsarStandalone)
	if err != nil {
		return err
	}
	settings := standalone + "\n" + secure + "\n" + s.further +
		"\n# This stack's own: of two equal keys the last one wins.\n" + s.secure.pulsarPorts(p)
	return errors.Join(
		replaceFile(filepath.Join(dir, "standalone.conf"), []byte(settings)),
		writeZooKeeperLogin(dir))
}

// launchPulsar starts the server of p; its process is p's afterwards.
func (s *Stack) launchPulsar(p *pulsarState) error {
	if err := s.awaitPorts("Pulsar", p.Broker, p.Web, p.Bookie, p.ZooKeeper); err != nil {
		return err
	}
	dir := filepath.Join(s.dir, pulsarDir)
	// bin/pulsar replaces itself by java: the process id stays.
	cmd := exec.Command(filepath.Join(p.Home, "bin", "pulsar"), "standalone",
		"--no-functions-worker", "--no-stream-storage",
		"--zookeeper-dir", filepath.Join(dir, "zookeeper"), "--zookeeper-port", strconv.Itoa(p.ZooKeeper),
		"--bookkeeper-dir", filepath.Join(dir, "bookkeeper"), "--bookkeeper-port", strconv.Itoa(p.Bookie))
	cmd.Dir = dir
	cmd.Env = append(pulsarEnvironment(dir, "-Xms256m -Xmx640m -XX:MaxDirectMemorySize=640m"),
		"PULSAR_STANDALONE_USE_ZOOKEEPER=1", // survives a SIGKILL; RocksDB does not
		"PULSAR_STANDALONE_CONF="+filepath.Join(dir, "standalone.conf"))
	process, _, err := launch(cmd, filepath.Join(s.dir, pulsarLog))
	if err != nil {
		return ErrStart.Wrap(err, "Pulsar")
	}
	p.Process = process
	return s.guard.kill(process, "TERM")
}

// pulsarEnvironment is what every program of the distribution is started with.
// dir holds the login for ZooKeeper, and takes what they write.
func pulsarEnvironment(dir, memory string) []string {
	return append(serverEnvironment(),
		"PULSAR_LOG_DIR="+filepath.Join(dir, "logs"),
		"PULSAR_LOG_APPENDER=Console",
		"PULSAR_LOG_IMMEDIATE_FLUSH=true", // the last lines matter when it dies
		"PULSAR_MEM="+memory,
		// Ready a third sooner, and a third of the default's memory, for less
		// peak throughput: right for two cores shared with tests.
		"PULSAR_GC=-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
		"PULSAR_GC_LOG=-Xlog:disable",
		"PULSAR_EXTRA_OPTS="+strings.Join([]string{
			"-Dpulsar.allocator.exit_on_oom=true",
			// Native libraries are unpacked here, and stay after a SIGKILL.
			"-Djava.io.tmpdir=" + filepath.Join(dir, "tmp"),
			"-Djava.security.auth.login.config=" + filepath.Join(dir, zooKeeperLogin),
			"-Dzookeeper.authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
			"-Dzookeeper.sessionRequireClientSASLAuth=true",
			"-Dzookeeper.fips-mode=false", // it excludes DIGEST-MD5
		}, " "))
}

// zooKeeperLogin is the file with the password that ZooKeeper asks for.
const zooKeeperLogin = "zookeeper-login.conf"

// writeZooKeeperLogin makes a fresh password, for the server and its clients.
func writeZooKeeperLogin(dir string) error {
	password, err := randomHex(16)
	if err != nil {
		return err
	}
	const module = "org.apache.zookeeper.server.auth.DigestLoginModule required"
	login := fmt.Sprintf("Server {\n  %s\n  user_runnel=\"%s\";\n};\nClient {\n  %s\n  username=\"runnel\"\n  password=\"%s\";\n};\n",
		module, password, module, password)
	return replaceFile(filepath.Join(dir, zooKeeperLogin), []byte(login))
}

// awaitPulsar waits until the broker answers.
func (s *Stack) awaitPulsar(ctx context.Context, p *pulsarState) error {
	return s.await(ctx, "Pulsar", pulsarLog, p.Process, s.pulsarAnswers)
}

// pulsarAnswers asks for the default namespace, then for the broker's own check of
// itself, which publishes and reads a message.
func (s *Stack) pulsarAnswers(ctx context.Context) error {
	client := s.adminClient()
	if _, err := get(ctx, client, s.PulsarAdminURL+"/admin/v2/namespaces/public/default"); err != nil {
		return err
	}
	answer, err := get(ctx, client, s.PulsarAdminURL+"/admin/v2/brokers/health")
	if err == nil && answer != "ok" {
		err = fmt.Errorf("health is %q", answer)
	}
	return err
}

func get(ctx context.Context, client *http.Client, address string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", address, response.Status)
	}
	return strings.TrimSpace(string(body)), err
}

// endPulsar stops the server; it takes about a second.
func endPulsar(ctx context.Context, p process) error {
	return p.end(ctx, step{syscall.SIGTERM, 10 * time.Second}, step{syscall.SIGKILL, 5 * time.Second})
}

package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"

	"github.com/runnel-cdc/runnel/internal/tlsfault"
)

const fixCA = "Give pulsar.ca_file a file with the certificates, in PEM, of the authorities to trust; without it the system's are."

// minTLS is the oldest version of TLS that is spoken.
const minTLS = tls.VersionTLS12

// tlsConfig trusts the CA file as it is now. ServerName stays empty on purpose:
// each connection then checks the name it dials, which is right for clusters
// whose brokers have certificates of their own. (The client library does the
// same with TLSTrustCertsFilePath: it reads the file for each connection.)
func (c Config) tlsConfig() (*tls.Config, error) {
	t := &tls.Config{MinVersion: minTLS}
	if c.CAFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, ErrConfig.Wrap(err, "reading pulsar.ca_file").Fix("%s", fixCA)
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(pem) {
		return nil, ErrConfig.New("pulsar.ca_file %s holds no PEM certificate", c.CAFile).Fix("%s", fixCA)
	}
	return t, nil
}

// dialTLS connects for net/http, with the authorities as they are then.
func (c Config) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	config, err := c.tlsConfig()
	if err != nil {
		return nil, err
	}
	config.NextProtos = []string{"h2", "http/1.1"}
	dialer := tls.Dialer{Config: config, NetDialer: &net.Dialer{KeepAlive: c.KeepAlive}}
	ctx, cancel := context.WithTimeout(ctx, c.OperationTimeout)
	defer cancel()
	return dialer.DialContext(ctx, network, address)
}

// tlsFault is the fault of a handshake that failed, or nil if err is not that.
func tlsFault(err error, setting, format string, args ...any) error {
	broker := tlsfault.Server{Name: "the broker", Address: setting, CA: "pulsar.ca_file"}
	remedy, ok := broker.Remedy(err)
	if !ok {
		return nil
	}
	return ErrTLS.Wrap(err, format, args...).Fix("%s", remedy)
}

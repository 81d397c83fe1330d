package devstack

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"time"
)

// Ports are taken below Linux's ephemeral range (32768 and up), so that no
// outgoing connection sits on a port while its server is being restarted.
const (
	lowestPort  = 20000
	highestPort = 32000
)

// freePorts returns n different ports that nobody listens on now.
func freePorts(n int) ([]int, error) {
	ports := make([]int, 0, n)
	seen := map[int]bool{}
	for range 1000 {
		if len(ports) == n {
			return ports, nil
		}
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		if !seen[port] && portFree(port) {
			ports = append(ports, port)
		}
		seen[port] = true
	}
	return nil, fmt.Errorf("no %d free ports between %d and %d", n, lowestPort, highestPort)
}

// portFree reports whether nobody listens on the port, on any address.
func portFree(port int) bool {
	for _, host := range []string{"127.0.0.1", "0.0.0.0"} {
		l, err := net.Listen("tcp4", fmt.Sprintf("%s:%d", host, port))
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}

// awaitPorts waits until a server's ports are free: connections of one that was
// just killed may take a moment to be gone.
func (s *Stack) awaitPorts(server string, ports ...int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	for _, port := range ports {
		if poll(ctx, 20*time.Millisecond, func() bool { return portFree(port) }) != nil {
			return ErrPortTaken.New("port %d, of %s", port, server).At("%s", s.dir)
		}
	}
	return nil
}

// Package netfault puts a bad network between a client and a server: a proxy on
// loopback whose connections can be reset, silenced in one direction or both,
// slowed down, cut into slices, and led to another server, all while they run.
//
//	proxy, err := netfault.Listen(server)   // "127.0.0.1:5432"
//	client.Connect(proxy.Addr())
//	proxy.Set(netfault.HalfOpen)            // of connections there are and new ones
//	...
//	proxy.Set(netfault.Healthy)             // what was on its way arrives
//
// What a stream does is what TCP does: bytes are late, and never missing in the
// middle. A direction that is silent keeps what is on its way, also that one side
// has closed, and delivers it when the network is back, as retransmission would. Its
// sender notices nothing until the buffers between are full; they are small here, so
// that it notices soon.
//
// It is for tests and the torture harness. What a new connection meets in silence is a
// server that accepts and never answers, since the proxy's kernel does accept.
package netfault

package wire

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// conn is a connection to a broker. One goroutine reads, one writes.
//
// Invariants:
//
//  1. Frames are written in the order in which they were queued: CLOSE_PRODUCER
//     behind the producer's batches.
//  2. No event is delivered, and no lock of a producer's owner taken, while mu
//     is held: owners call in with their locks held.
//  3. The queue is bounded by what producers have on their way, and requests, one
//     frame each.
type conn struct {
	cfg     *Config
	raw     net.Conn
	dead    chan struct{}  // closed by end, after cause is set
	running sync.WaitGroup // reader and writer
	wake    chan struct{}  // capacity 1: queue is not empty

	mu          sync.Mutex
	cause       error
	queue       []item
	requests    map[uint64]chan<- answer // capacity 1 each
	nextRequest uint64
	producers   map[uint64]*Producer
}

// item is what to write: a command's frame, or a producer's batch.
type item struct {
	frame []byte
	batch *Batch
	of    *Producer
}

// maxQueue bounds the queue where the broker would make it grow, by asking
// without reading the answers.
const maxQueue = 1 << 16

// writeBuffer gathers small frames into one write, in bytes; larger frames are
// written from where they are.
const writeBuffer = 64 << 10

// writeAtOnce bounds one write of a frame, in bytes, so that it is seen that it goes on.
const writeAtOnce = 256 << 10

// newConn serves a connection on which greetings have been exchanged.
func newConn(raw net.Conn, cfg *Config) *conn {
	c := &conn{
		cfg: cfg, raw: raw, dead: make(chan struct{}), wake: make(chan struct{}, 1),
		requests: make(map[uint64]chan<- answer), producers: make(map[uint64]*Producer),
	}
	c.running.Go(c.read)
	c.running.Go(c.write)
	return c
}

// end ends the connection; the first cause counts. Producers learn it from here.
func (c *conn) end(cause error) {
	c.mu.Lock()
	if c.cause != nil {
		c.mu.Unlock()
		return
	}
	c.cause = cause
	close(c.dead)
	all := c.producers
	c.producers = nil
	c.mu.Unlock()
	_ = socket(c.raw).Close()
	for _, p := range all {
		p.ended(fmt.Errorf("%w: %w", ErrDisconnected, cause), true)
	}
}

// socket returns what lies below TLS, which would not close without a last word
// to a peer that may not listen.
func socket(c net.Conn) net.Conn {
	if secure, ok := c.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return c
}

// put queues a frame. Behind the end it is dropped.
func (c *conn) put(it item) {
	c.mu.Lock()
	if c.cause != nil {
		c.mu.Unlock()
		if it.batch != nil {
			it.batch.Free()
		}
		return
	}
	c.queue = append(c.queue, it)
	n := len(c.queue)
	c.mu.Unlock()
	switch n {
	case 1:
		select {
		case c.wake <- struct{}{}:
		default:
		}
	case maxQueue:
		go c.end(fmt.Errorf("%d frames are waiting to be written", n)) // not here: see invariant 2
	}
}

// write is the writer's goroutine. It also sends the keepalive: PING asks for
// PONG, and what does not come within twice the interval ends the connection
// (spec, "Keep Alive").
func (c *conn) write() {
	ping := time.NewTicker(c.cfg.KeepAlive)
	defer ping.Stop()
	out := bufio.NewWriterSize(c.raw, writeBuffer)
	var round []item
	for {
		select {
		case <-c.wake:
		case <-ping.C:
			c.put(item{frame: appendFrame(nil, cmdPing, nil)})
		case <-c.dead:
			return
		}
		c.mu.Lock()
		round, c.queue = c.queue, round[:0]
		c.mu.Unlock()
		for i := range round {
			if err := c.writeItem(out, &round[i]); err != nil {
				c.end(err)
				return
			}
		}
		clear(round)
		if err := out.Flush(); err != nil {
			c.end(err)
			return
		}
	}
}

// writeItem writes one frame. What is left of a producer that has ended is
// dropped: the fewer of its batches are stored behind one that the broker has
// refused, the smaller the hole.
func (c *conn) writeItem(out *bufio.Writer, it *item) error {
	if it.of == nil {
		_, err := out.Write(it.frame)
		return err
	}
	if it.of.over.Load() {
		it.batch.Free()
		return nil
	}
	defer it.batch.Free()
	frame := it.batch.seal(it.of.id, time.Now()) // here, as it may be compressed: other goroutines go on
	for len(frame) > writeAtOnce {
		if _, err := out.Write(frame[:writeAtOnce]); err != nil {
			return err
		}
		if paced, ok := socket(c.raw).(*pacedConn); ok {
			paced.goesOn()
		}
		frame = frame[writeAtOnce:]
	}
	_, err := out.Write(frame)
	return err
}

// read is the reader's goroutine.
func (c *conn) read() {
	in := bufio.NewReaderSize(c.raw, 32<<10)
	var (
		header [4]byte
		frame  []byte
	)
	for {
		_, err := io.ReadFull(in, header[:])
		if err == nil {
			size := binary.BigEndian.Uint32(header[:])
			if size < 4 || size > maxFrame {
				err = ErrProtocol
			} else {
				if uint32(cap(frame)) < size {
					frame = make([]byte, size)
				}
				_, err = io.ReadFull(in, frame[:size])
			}
			if err == nil {
				err = c.handle(frame[:size])
			}
		}
		if err != nil {
			c.end(err)
			return
		}
	}
}

// handle does what one frame says. An error ends the connection.
func (c *conn) handle(frame []byte) error {
	kind, body, err := parseFrame(frame)
	if err != nil {
		return err
	}
	switch kind {
	case cmdSendReceipt:
		r, err := parseReceipt(body)
		if err != nil {
			return err
		}
		if p := c.producer(r.Producer); p != nil {
			p.events.Stored(r)
		}
	case cmdSendError:
		id, refusal, err := parseSendError(body)
		if err != nil {
			return err
		}
		if p := c.producer(id); p != nil {
			p.ended(refusal, false)
		}
	case cmdCloseProducer:
		id, err := parseCloseProducer(body)
		if err != nil {
			return err
		}
		if p := c.producer(id); p != nil {
			p.ended(ErrProducerClosed, true)
		}
	case cmdPing:
		c.put(item{frame: appendFrame(nil, cmdPong, nil)})
	case cmdAuthChallenge:
		token, err := c.cfg.Token()
		if err != nil {
			return err
		}
		c.put(item{frame: appendAuthResponse(nil, c.cfg.Name, token)})
	case cmdSuccess, cmdError, cmdProducerSuccess, cmdLookupAnswer, cmdSchemaAnswer:
		a, err := parseAnswer(kind, body)
		if err != nil {
			return err
		}
		c.mu.Lock()
		to := c.requests[a.request]
		delete(c.requests, a.request)
		c.mu.Unlock()
		if to != nil { // nil: nobody waits any more
			to <- a
		}
	}
	return nil // what else there is, is not for producers
}

func (c *conn) producer(id uint64) *Producer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.producers[id]
}

// request asks and waits for the answer, at most Config.Timeout. Errors:
// *ServerError, ErrTimeout, ErrDisconnected, and ctx's.
func (c *conn) request(ctx context.Context, ask func(request uint64) []byte) (answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout, ErrTimeout)
	defer cancel()
	reply := make(chan answer, 1)
	c.mu.Lock()
	if c.cause != nil {
		defer c.mu.Unlock()
		return answer{}, fmt.Errorf("%w: %w", ErrDisconnected, c.cause)
	}
	c.nextRequest++
	id := c.nextRequest
	c.requests[id] = reply
	c.mu.Unlock()
	c.put(item{frame: ask(id)})
	defer func() {
		c.mu.Lock()
		delete(c.requests, id)
		c.mu.Unlock()
	}()
	select {
	case a := <-reply:
		if a.err != nil {
			return a, a.err
		}
		return a, nil
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	case <-c.dead:
		return answer{}, fmt.Errorf("%w: %w", ErrDisconnected, c.cause)
	}
}

package broker

import (
	"context"
	"sync"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/backoff"
)

// readerLink is one reader of the client's, until it is closed or first tries to
// reconnect. next is for one goroutine.
type readerLink struct {
	topic  string
	client pulsar.Reader

	mu     sync.Mutex         // guards the rest
	cause  error              // why it is lost
	wake   context.CancelFunc // ends the wait that is under way
	asking bool               // a question is under way in the client
	due    bool               // that question has not asked for a policy yet
	closed bool
}

// reconnects is asked by the client at the start of each reconnect, before
// anything can come over the new connection; and once at the start of each
// question. Which of two at once is which does not matter: both have asked when
// the question is answered.
func (l *readerLink) reconnects() backoff.Policy {
	l.mu.Lock()
	due := l.due
	l.due = false
	l.mu.Unlock()
	if due {
		return backoff.NewDefaultBackoff()
	}
	l.lose(ErrLost.New("%s: the broker closed the reader or the connection", l.topic))
	return backoff.NewDefaultBackoff()
}

// lose gives the link up; the first cause counts.
func (l *readerLink) lose(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil {
		l.cause = cause
	}
	if l.wake != nil {
		l.wake()
	}
}

func (l *readerLink) lost() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// next waits for a message. Whatever comes when the link is lost is not to be
// trusted.
func (l *readerLink) next(ctx context.Context) (pulsar.Message, error) {
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	l.mu.Lock()
	l.wake = cancel
	if l.cause != nil {
		cancel()
	}
	l.mu.Unlock()
	m, err := l.client.Next(wait)
	if cause := l.lost(); cause != nil {
		return nil, cause
	}
	return m, err
}

// ask is the client's GetLastMessageID. That one never returns when the client's
// reader closes meanwhile, so a close that comes in between is done afterwards.
func (l *readerLink) ask() (pulsar.MessageID, error) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, ErrLost.New("%s: the reader is closed", l.topic)
	}
	l.asking, l.due = true, true
	l.mu.Unlock()
	id, err := l.client.GetLastMessageID()
	l.mu.Lock()
	l.asking, l.due = false, false
	closed := l.closed
	l.mu.Unlock()
	if closed {
		l.client.Close()
	}
	return id, err
}

// giveUp closes a link that came when nobody waited for it any more.
func (l *readerLink) giveUp() {
	l.lose(ErrLost.New("%s: the reader came too late", l.topic))
	l.close()
}

func (l *readerLink) close() {
	l.mu.Lock()
	now := !l.closed && !l.asking
	l.closed = true
	l.mu.Unlock()
	if now {
		l.client.Close()
	}
}

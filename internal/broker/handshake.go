package broker

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// greeting is what a broker says when a client connects.
type greeting struct {
	ServerVersion  string
	MaxMessageSize int // bytes; 0: not said
}

// refusal is a broker's error instead of a greeting.
type refusal struct {
	code    int
	message string
}

func (r *refusal) Error() string { return fmt.Sprintf("server error %d: %s", r.code, r.message) }

// Numbers of Pulsar's wire protocol (PulsarApi.proto).
const (
	cmdConnect   = 2
	cmdConnected = 3
	cmdError     = 14

	codeAuthentication = 3
	codeAuthorization  = 4
	protocolVersion    = 19

	maxGreeting = 64 << 10 // a greeting has some dozen bytes
)

var errNotPulsar = errors.New("not the Pulsar protocol")

// greet connects and exchanges greetings. The client library does this too,
// but tells why it failed only in its log, and keeps the broker's maximum
// message size to itself.
func greet(ctx context.Context, e endpoint, config *tls.Config, token string) (greeting, error) {
	var dialer interface {
		DialContext(context.Context, string, string) (net.Conn, error)
	} = &net.Dialer{}
	if e.tls {
		dialer = &tls.Dialer{Config: config}
	}
	conn, err := dialer.DialContext(ctx, "tcp", e.host)
	if err != nil {
		return greeting{}, err
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	if _, err := conn.Write(appendConnect(nil, token)); err != nil {
		return greeting{}, err
	}
	var header [4]byte
	if n, err := io.ReadFull(conn, header[:]); err != nil {
		if n > 0 && header[0] != 0 { // a greeting's size has a zero there
			return greeting{}, errNotPulsar
		}
		return greeting{}, err
	}
	size := binary.BigEndian.Uint32(header[:])
	if size < 4 || size > maxGreeting {
		return greeting{}, errNotPulsar
	}
	frame := make([]byte, size)
	if _, err := io.ReadFull(conn, frame); err != nil {
		return greeting{}, err
	}
	return parseGreeting(frame)
}

// appendConnect appends a whole CONNECT frame.
func appendConnect(dst []byte, token string) []byte {
	connect := appendField(nil, 1, "Runnel")
	if token != "" {
		connect = appendField(connect, 3, token)
	}
	connect = append(connect, 4<<3, protocolVersion)
	if token != "" {
		connect = appendField(connect, 5, "token")
	}
	command := append([]byte{1 << 3, cmdConnect}, appendField(nil, cmdConnect, string(connect))...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(command)+4))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(command)))
	return append(dst, command...)
}

func appendField(dst []byte, number int, value string) []byte {
	dst = binary.AppendUvarint(dst, uint64(number)<<3|2)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// parseGreeting reads a frame without its leading size: [size][command].
func parseGreeting(frame []byte) (greeting, error) {
	if len(frame) < 4 {
		return greeting{}, errNotPulsar
	}
	size := binary.BigEndian.Uint32(frame)
	if uint64(size) > uint64(len(frame)-4) {
		return greeting{}, errNotPulsar
	}
	var (
		kind uint64
		body []byte
	)
	err := eachField(frame[4:4+size], func(number int, value uint64, data []byte) {
		switch number {
		case 1:
			kind = value
		case cmdConnected, cmdError:
			if number == int(kind) {
				body = data
			}
		}
	})
	if err != nil {
		return greeting{}, err
	}
	switch kind {
	case cmdConnected:
		var g greeting
		err = eachField(body, func(number int, value uint64, data []byte) {
			switch number {
			case 1:
				g.ServerVersion = string(data)
			case 3:
				if value <= 1<<30 {
					g.MaxMessageSize = int(value)
				}
			}
		})
		if err == nil && g.ServerVersion == "" {
			err = errNotPulsar
		}
		return g, err
	case cmdError:
		r := &refusal{}
		err = eachField(body, func(number int, value uint64, data []byte) {
			switch number {
			case 2:
				r.code = int(value & 0xffff)
			case 3:
				r.message = string(data)
			}
		})
		if err != nil {
			return greeting{}, err
		}
		return greeting{}, r
	}
	return greeting{}, errNotPulsar
}

// eachField walks the fields of one protobuf message.
func eachField(data []byte, field func(number int, value uint64, data []byte)) error {
	for len(data) > 0 {
		key, n := binary.Uvarint(data)
		if n <= 0 || key>>3 == 0 || key>>3 > 1<<29 {
			return errNotPulsar
		}
		data = data[n:]
		number := int(key >> 3)
		switch key & 7 {
		case 0:
			value, n := binary.Uvarint(data)
			if n <= 0 {
				return errNotPulsar
			}
			data = data[n:]
			field(number, value, nil)
		case 2:
			size, n := binary.Uvarint(data)
			if n <= 0 || size > uint64(len(data)-n) {
				return errNotPulsar
			}
			field(number, 0, data[n:n+int(size)])
			data = data[n+int(size):]
		case 1, 5:
			width := 8
			if key&7 == 5 {
				width = 4
			}
			if len(data) < width {
				return errNotPulsar
			}
			data = data[width:]
		default:
			return errNotPulsar
		}
	}
	return nil
}

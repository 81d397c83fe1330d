package wire

import (
	"encoding/binary"
	"errors"
)

// ErrProtocol is what a server gets that does not speak Pulsar's protocol, or
// breaks it.
var ErrProtocol = errors.New("not the Pulsar protocol")

// The protobuf encoding, by hand: the commands are few, and messages are encoded
// a million times a second. Field numbers stand beside their names, as in (proto).

const (
	wireVarint = 0
	wireBytes  = 2
)

// appendUint appends a field that is a number.
func appendUint(dst []byte, field int, value uint64) []byte {
	dst = binary.AppendUvarint(dst, uint64(field)<<3|wireVarint)
	return binary.AppendUvarint(dst, value)
}

// appendBytes appends a field that is text, bytes or a message.
func appendBytes[T string | []byte](dst []byte, field int, value T) []byte {
	dst = binary.AppendUvarint(dst, uint64(field)<<3|wireBytes)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// uvarintSize is the length of a number in bytes.
func uvarintSize(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

// eachField walks the fields of one protobuf message: value is of numbers, data
// of everything with a length; data aliases the message. Numbers of fixed width,
// which no command here has, are passed over. Error: ErrProtocol.
func eachField(message []byte, field func(number int, value uint64, data []byte)) error {
	for len(message) > 0 {
		key, n := binary.Uvarint(message)
		if n <= 0 || key>>3 == 0 || key>>3 > 1<<29 {
			return ErrProtocol
		}
		message = message[n:]
		number := int(key >> 3)
		switch key & 7 {
		case wireVarint:
			value, n := binary.Uvarint(message)
			if n <= 0 {
				return ErrProtocol
			}
			message = message[n:]
			field(number, value, nil)
		case wireBytes:
			size, n := binary.Uvarint(message)
			if n <= 0 || size > uint64(len(message)-n) {
				return ErrProtocol
			}
			field(number, 0, message[n:n+int(size)])
			message = message[n+int(size):]
		case 1, 5:
			width := 8
			if key&7 == 5 {
				width = 4
			}
			if len(message) < width {
				return ErrProtocol
			}
			message = message[width:]
		default:
			return ErrProtocol
		}
	}
	return nil
}

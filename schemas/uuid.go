package schemas

import "encoding/binary"

// isUUID reports whether b has the text form of RFC 4122, in either case: what
// avro.Reader takes for a uuid. It is on the path of every event that has one, so
// digits are checked eight at a time.
func isUUID(b []byte) bool {
	if len(b) != 36 || b[8] != '-' || b[13] != '-' || b[18] != '-' || b[23] != '-' {
		return false
	}
	half := func(at int) uint64 { return uint64(binary.LittleEndian.Uint32(b[at:])) }
	return areHex(binary.LittleEndian.Uint64(b)) &&
		areHex(half(9)|half(14)<<32) &&
		areHex(half(19)|half(24)<<32) &&
		areHex(binary.LittleEndian.Uint64(b[28:]))
}

// areHex reports whether all eight bytes of x are hex digits. The highest bit of
// each byte holds the comparison of the other seven: it is set before subtracting,
// so that no byte borrows from the next.
func areHex(x uint64) bool {
	const (
		each = 0x0101010101010101
		high = 0x80 * each
	)
	if x&high != 0 {
		return false
	}
	letters := x | 0x20*each
	isDigit := ((x | high) - '0'*each) & ('9'*each | high - x)
	isLetter := ((letters | high) - 'a'*each) & ('f'*each | high - letters)
	return (isDigit|isLetter)&high == high
}

func isHex(c byte) bool { return c-'0' <= 9 || c|0x20 >= 'a' && c|0x20 <= 'f' }

func hexValue(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

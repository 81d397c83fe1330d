package schemas

import (
	"bytes"
	"math/big"
	"strconv"
)

// maxDecimalDigits bounds decimals, whose arithmetic is quadratic.
const maxDecimalDigits = 4096

// decimalRange returns the greatest and the least integer of that many decimal
// digits, in two's complement and of the same length.
func decimalRange(precision int) (most, least []byte) {
	nines := bytes.Repeat([]byte{'9'}, precision)
	most, _ = appendTwosComplement(nil, false, nines, 0)
	least, _ = appendTwosComplement(nil, true, nines, 0)
	return most, least
}

// holdsDecimal reports whether b is an integer of at most as many digits as the
// decimal s has, in two's complement of any length but none.
func (s *Schema) holdsDecimal(b []byte) bool {
	if len(b) < len(s.most) {
		return len(b) > 0 // most needs more bytes than b has
	}
	for len(b) > 1 && (b[0] == 0 && b[1] < 0x80 || b[0] == 0xff && b[1] >= 0x80) {
		b = b[1:] // padding
	}
	switch {
	case len(b) != len(s.most):
		return len(b) < len(s.most)
	case b[0] < 0x80:
		return bytes.Compare(b, s.most) <= 0
	}
	return bytes.Compare(b, s.least) >= 0
}

// isNumber reports whether b is a JSON number and nothing else.
func isNumber(b []byte) bool {
	if len(b) == 0 || b[0] != '-' && b[0]-'0' >= 10 {
		return false
	}
	t := tape{src: b}
	return t.number() == nil && t.off == len(b)
}

// unscaled returns the digits of a JSON number times 10^scale, without leading
// zeros and "" for zero. It is exact: ok is false when a digit would be lost, or
// there are more than maxDecimalDigits. The digits may alias number or buf.
func unscaled(buf, number []byte, scale int) (negative bool, digits []byte, ok bool) {
	if number[0] == '-' {
		negative, number = true, number[1:]
	}
	exponent := 0
	if e := bytes.IndexAny(number, "eE"); e >= 0 {
		n, err := strconv.Atoi(string(number[e+1:]))
		if err != nil || n > 1<<20 || n < -1<<20 {
			// Far outside anything but zero.
			return negative, nil, len(bytes.Trim(number[:e], "0.")) == 0
		}
		exponent, number = n, number[:e]
	}
	exponent += scale
	whole, fraction := number, []byte(nil)
	if dot := bytes.IndexByte(number, '.'); dot >= 0 {
		whole, fraction = number[:dot], number[dot+1:]
		exponent -= len(fraction)
	}
	if fraction != nil || exponent > 0 {
		digits = append(append(buf[:0], whole...), fraction...)
	} else {
		digits = whole
	}
	digits = bytes.TrimLeft(digits, "0")
	switch {
	case len(digits) == 0:
		return negative, nil, true
	case exponent > maxDecimalDigits || len(digits)+exponent > maxDecimalDigits:
		return negative, nil, false
	}
	for ; exponent > 0; exponent-- {
		digits = append(digits, '0')
	}
	for ; exponent < 0; exponent++ {
		last := len(digits) - 1
		if last < 0 || digits[last] != '0' {
			return negative, nil, false
		}
		digits = digits[:last]
	}
	return negative, digits, true
}

// appendTwosComplement appends a decimal integer as a big-endian two's
// complement: in the fewest bytes for size 0, else in exactly size; ok is false
// when it does not fit.
func appendTwosComplement(dst []byte, negative bool, digits []byte, size int) (out []byte, ok bool) {
	var raw []byte
	if len(digits) <= 18 {
		var n int64
		for _, d := range digits {
			n = n*10 + int64(d-'0')
		}
		if negative {
			n = -n
		}
		var buf [8]byte
		for i := range buf {
			buf[i] = byte(n >> (8 * (7 - i)))
		}
		raw = buf[:]
	} else {
		n, _ := new(big.Int).SetString(string(digits), 10)
		raw = make([]byte, n.BitLen()/8+1)
		if negative {
			// 2^bits - n, whose highest bit is set as 2^(bits-1) >= n.
			n.Sub(new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))), n)
		}
		n.FillBytes(raw)
	}
	for len(raw) > 1 && (raw[0] == 0 && raw[1] < 0x80 || raw[0] == 0xff && raw[1] >= 0x80) {
		raw = raw[1:]
	}
	if len(raw) > size && size > 0 {
		return dst, false
	}
	for n := size - len(raw); n > 0; n-- {
		dst = append(dst, byte(int8(raw[0])>>7))
	}
	return append(dst, raw...), true
}

// appendDecimal appends a big-endian two's complement as a decimal number with
// scale digits after the point.
func appendDecimal(dst, raw []byte, scale int) []byte {
	var digits []byte
	negative := len(raw) > 0 && raw[0] >= 0x80
	if len(raw) <= 8 {
		var n int64
		if negative {
			n = -1
		}
		for _, c := range raw {
			n = n<<8 | int64(c)
		}
		u := uint64(n)
		if negative {
			u = -u
		}
		digits = strconv.AppendUint(nil, u, 10)
	} else {
		n := new(big.Int).SetBytes(raw)
		if negative {
			n.Sub(new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))), n)
		}
		digits = n.Append(nil, 10)
	}
	if negative {
		dst = append(dst, '-')
	}
	for n := scale + 1 - len(digits); n > 0; n-- {
		digits = append([]byte{'0'}, digits...)
	}
	point := len(digits) - scale
	dst = append(dst, digits[:point]...)
	if scale > 0 {
		dst = append(append(dst, '.'), digits[point:]...)
	}
	return dst
}

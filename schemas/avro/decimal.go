package avro

import (
	"math"
	"math/big"
	"math/bits"

	"github.com/shopspring/decimal"
)

// Decimals are exact in both directions: a value either has an unscaled integer
// of at most `precision` digits at the schema's scale, or it is refused.
// Nothing is rounded; trailing zeros are added and removed.

// AppendDecimal appends v as an Avro decimal on bytes: the unscaled value in
// the fewest bytes of two's complement. It allocates only beyond 18 digits.
func AppendDecimal(dst []byte, v decimal.Decimal, precision, scale int) ([]byte, error) {
	small, large, err := unscaled(v, precision, scale)
	if err != nil {
		return dst, err
	}
	if large == nil {
		n := int64Len(small)
		return appendInt64(AppendLong(dst, int64(n)), small, n), nil
	}
	n := bigLen(large)
	return appendBig(AppendLong(dst, int64(n)), large, n), nil
}

// AppendDecimalFixed appends v as an Avro decimal on a fixed of size bytes.
func AppendDecimalFixed(dst []byte, v decimal.Decimal, precision, scale, size int) ([]byte, error) {
	small, large, err := unscaled(v, precision, scale)
	if err != nil {
		return dst, err
	}
	need := int64Len(small)
	if large != nil {
		need = bigLen(large)
	}
	if need > size {
		return dst, ErrValue.New("a decimal of %d bytes in a fixed of %d", need, size)
	}
	if large == nil {
		return appendInt64(dst, small, size), nil
	}
	return appendBig(dst, large, size), nil
}

// Decimal reads an Avro decimal on bytes. The result has the schema's scale:
// its Exponent is -scale.
func (r *Reader) Decimal(precision, scale int) decimal.Decimal {
	return r.decimal(r.chunk(), precision, scale)
}

// DecimalFixed reads an Avro decimal on a fixed of size bytes.
func (r *Reader) DecimalFixed(precision, scale, size int) decimal.Decimal {
	return r.decimal(r.take(size), precision, scale)
}

// digits64 is how many decimal digits always fit in an int64.
const digits64 = 18

// unscaled returns v * 10^scale, in large if it is not nil and in small
// otherwise. A hostile exponent costs nothing: digits are counted first.
func unscaled(v decimal.Decimal, precision, scale int) (small int64, large *big.Int, err error) {
	if v.IsZero() {
		return 0, nil, nil
	}
	shift := int64(v.Exponent()) + int64(scale)
	digits := int64(v.NumDigits())
	if digits+shift > int64(precision) {
		return 0, nil, tooLarge(digits+shift, precision, scale)
	}
	if shift < 0 && -shift >= digits {
		return 0, nil, tooFine(scale) // fewer digits than zeros to remove
	}
	if digits <= digits64 && digits+shift <= digits64 {
		small = v.CoefficientInt64()
		for ; shift > 0; shift-- {
			small *= 10
		}
		for ; shift < 0; shift++ {
			if small%10 != 0 {
				return 0, nil, tooFine(scale)
			}
			small /= 10
		}
		return small, nil, nil
	}
	large = v.Coefficient()
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(max(shift, -shift)), nil)
	if shift >= 0 {
		return 0, large.Mul(large, power), nil
	}
	if _, rest := large.QuoRem(large, power, new(big.Int)); rest.Sign() != 0 {
		return 0, nil, tooFine(scale)
	}
	return 0, large, nil
}

func tooLarge(digits int64, precision, scale int) error {
	return ErrValue.New("a decimal of %d digits at scale %d; the schema has a precision of %d", digits, scale, precision)
}

func tooFine(scale int) error {
	return ErrValue.New("a decimal with digits beyond the schema's scale of %d; round it first", scale)
}

// int64Len is the number of bytes of v in two's complement, at least 1.
func int64Len(v int64) int { return bits.Len64(uint64(v^v>>63))/8 + 1 }

// appendInt64 appends the low n bytes of v, sign-extended, big-endian.
func appendInt64(dst []byte, v int64, n int) []byte {
	for i := n - 1; i >= 0; i-- {
		dst = append(dst, byte(v>>min(8*i, 63))) // beyond 63 only the sign is left
	}
	return dst
}

// bigLen is the number of bytes of v in two's complement, at least 1.
func bigLen(v *big.Int) int {
	n := v.BitLen()
	if v.Sign() < 0 && n == int(v.TrailingZeroBits())+1 {
		n-- // -2^k takes one bit less than 2^k
	}
	return n/8 + 1
}

// appendBig appends v in n bytes of two's complement, big-endian; n >= bigLen(v).
func appendBig(dst []byte, v *big.Int, n int) []byte {
	if v.Sign() < 0 {
		v = new(big.Int).Add(v, new(big.Int).Lsh(big.NewInt(1), uint(8*n)))
	}
	start := len(dst)
	dst = append(dst, make([]byte, n)...)
	v.FillBytes(dst[start:])
	return dst
}

// decimal turns two's complement into a decimal of the given scale; it fails
// for more digits than precision, before it builds a large number.
func (r *Reader) decimal(b []byte, precision, scale int) decimal.Decimal {
	if r.err != nil {
		return decimal.Decimal{}
	}
	if len(b) == 0 {
		r.fail("a decimal of no bytes")
		return decimal.Decimal{}
	}
	for len(b) > 1 && (b[0] == 0 && b[1] < 0x80 || b[0] == 0xff && b[1] >= 0x80) {
		b = b[1:] // padding
	}
	var v decimal.Decimal
	switch {
	case len(b) <= 8:
		n := int64(int8(b[0]))
		for _, c := range b[1:] {
			n = n<<8 | int64(c)
		}
		v = decimal.New(n, -int32(scale))
	case float64(len(b)-1)*8 > float64(precision)*math.Log2(10)+8:
		r.fail("a decimal of %d bytes; the schema has a precision of %d", len(b), precision)
		return decimal.Decimal{}
	default:
		n := new(big.Int).SetBytes(b)
		if b[0] >= 0x80 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
		}
		v = decimal.NewFromBigInt(n, -int32(scale))
	}
	if v.NumDigits() > precision {
		r.fail("a decimal of %d digits; the schema has a precision of %d", v.NumDigits(), precision)
		return decimal.Decimal{}
	}
	return v
}

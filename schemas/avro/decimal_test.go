package avro_test

import (
	"bytes"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/schemas/avro"
)

func TestDecimalExact(t *testing.T) {
	for _, c := range []struct {
		value            string
		precision, scale int
		want             string // unscaled, in hex; "" when it does not fit
	}{
		{"0", 4, 2, "00"},
		{"1.27", 4, 2, "7f"},
		{"1.28", 4, 2, "0080"},
		{"-1.28", 4, 2, "80"},
		{"-1.29", 4, 2, "ff7f"},
		{"1.5", 4, 2, "0096"},    // 150: zeros are added
		{"1.5000", 4, 2, "0096"}, // and removed
		{"15e-1", 4, 2, "0096"},  //
		{"1e1", 4, 2, "03e8"},    // 1000
		{"1e2", 4, 2, ""},        // 5 digits
		{"1.501", 4, 2, ""},      // never rounded
		{"99.99", 4, 2, "270f"},  //
		{"100.00", 4, 2, ""},     //
		{"9223372036854775807", 19, 0, "7fffffffffffffff"},
		{"9223372036854775808", 19, 0, "008000000000000000"},
		{"-9223372036854775808", 19, 0, "8000000000000000"},
		{"-9223372036854775809", 19, 0, "ff7fffffffffffffff"},
		{"123456789012345678901234567890.12", 32, 2, "009bd30a3c645943dd1690a03a14"},
		{"123456789012345678901234567890.123", 33, 2, ""},
	} {
		v := decimal.RequireFromString(c.value)
		got, err := avro.AppendDecimal(nil, v, c.precision, c.scale)
		if c.want == "" {
			if !errors.Is(err, avro.ErrValue) {
				t.Errorf("%s in (%d,%d): %x, %v", c.value, c.precision, c.scale, got, err)
			}
			continue
		}
		want, _ := new(big.Int).SetString(c.want, 16)
		unscaled := append(make([]byte, len(c.want)/2-len(want.Bytes())), want.Bytes()...)
		if err != nil || !bytes.Equal(got, avro.AppendBytes(nil, unscaled)) {
			t.Errorf("%s in (%d,%d): %x, want %s; %v", c.value, c.precision, c.scale, got, c.want, err)
		}
		r := avro.NewReader(got)
		if back := r.Decimal(c.precision, c.scale); !back.Equal(v) || back.Exponent() != int32(-c.scale) || r.Close() != nil {
			t.Errorf("%s came back as %v, %v", c.value, back, r.Close())
		}
	}
}

// TestDecimalHostile: an exponent costs no time, and a zero is a zero.
func TestDecimalHostile(t *testing.T) {
	for _, exp := range []int32{math.MaxInt32, math.MinInt32} {
		if _, err := avro.AppendDecimal(nil, decimal.New(1, exp), 9, 2); !errors.Is(err, avro.ErrValue) {
			t.Error(err)
		}
		if got, err := avro.AppendDecimal(nil, decimal.New(0, exp), 9, 2); err != nil || string(got) != "\x02\x00" {
			t.Errorf("%x, %v", got, err)
		}
	}
	if got, err := avro.AppendDecimal(nil, decimal.Decimal{}, 9, 2); err != nil || string(got) != "\x02\x00" {
		t.Errorf("%x, %v", got, err)
	}
}

// TestDecimalOracle compares with arithmetic on strings of digits.
func TestDecimalOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.StringMatching(`-?[0-9]{1,40}`).Draw(t, "digits")
		exp := rapid.Int32Range(-45, 10).Draw(t, "exp")
		precision := rapid.IntRange(1, 45).Draw(t, "precision")
		scale := rapid.IntRange(0, precision).Draw(t, "scale")
		coefficient, _ := new(big.Int).SetString(digits, 10)
		v := decimal.NewFromBigInt(coefficient, exp)

		rat := new(big.Rat).Mul(v.Rat(), new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)))
		fits := rat.IsInt() && len(strings.TrimPrefix(rat.Num().String(), "-")) <= precision
		got, err := avro.AppendDecimal(nil, v, precision, scale)
		if (err == nil) != fits {
			t.Fatalf("%v in (%d,%d): %v", v, precision, scale, err)
		}
		size := precision/2 + 1 // always enough
		fixed, fixedErr := avro.AppendDecimalFixed(nil, v, precision, scale, size)
		if (fixedErr == nil) != fits || fits && len(fixed) != size {
			t.Fatalf("fixed: %x, %v", fixed, fixedErr)
		}
		if !fits {
			return
		}
		r, rf := avro.NewReader(got), avro.NewReader(fixed)
		if back := r.Decimal(precision, scale); !back.Equal(v) || r.Close() != nil {
			t.Fatalf("%v came back as %v: %v", v, back, r.Close())
		}
		if back := rf.DecimalFixed(precision, scale, size); !back.Equal(v) || rf.Close() != nil {
			t.Fatalf("%v came back from a fixed as %v: %v", v, back, rf.Close())
		}
		// Fewest bytes: one less would lose the value.
		if n := len(got) - 1; n > 1 && (got[1] == 0 && got[2] < 0x80 || got[1] == 0xff && got[2] >= 0x80) {
			t.Fatalf("%v has padding: %x", v, got)
		}
	})
}

func TestDecimalFixedTooSmall(t *testing.T) {
	if _, err := avro.AppendDecimalFixed(nil, decimal.New(128, 0), 3, 0, 1); !errors.Is(err, avro.ErrValue) {
		t.Error(err)
	}
}

func TestDecimalPadding(t *testing.T) {
	for data, want := range map[string]int64{"\x06\x00\x00\x05": 5, "\x06\xff\xff\xfe": -2, "\x14\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80": 128} {
		r := avro.NewReader([]byte(data))
		if got := r.Decimal(3, 0); !got.Equal(decimal.New(want, 0)) || r.Close() != nil {
			t.Errorf("%x: %v, %v", data, got, r.Close())
		}
	}
}

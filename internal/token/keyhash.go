package token

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// KeyHash is the hash by which Pulsar's clients choose a key's partition when
// they are set to Murmur3: MurmurHash3 x86 32 with seed 0, without the sign bit.
func KeyHash(key string) uint32 {
	const c1, c2 = 0xcc9e2d51, 0x1b873593
	data := []byte(key)
	var h uint32
	for ; len(data) >= 4; data = data[4:] {
		k := binary.LittleEndian.Uint32(data)
		h ^= bits.RotateLeft32(k*c1, 15) * c2
		h = bits.RotateLeft32(h, 13)*5 + 0xe6546b64
	}
	if len(data) > 0 {
		var tail [4]byte
		copy(tail[:], data)
		h ^= bits.RotateLeft32(binary.LittleEndian.Uint32(tail[:])*c1, 15) * c2
	}
	h ^= uint32(len(key))
	h = (h ^ h>>16) * 0x85ebca6b
	h = (h ^ h>>13) * 0xc2b2ae35
	return (h ^ h>>16) & math.MaxInt32
}

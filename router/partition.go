package router

import (
	"encoding/binary"
	"math/bits"
)

// PartitionOf returns the partition of a key among n: Murmur3 (x86, 32 bit,
// seed 0) with the sign bit cleared, modulo n. This is what Pulsar's clients do
// with HashingScheme Murmur3_32Hash, so that other producers' keys would land
// alike. n must be positive.
func PartitionOf(key []byte, n int) int {
	return int(murmur3(key)&0x7fffffff) % n
}

func murmur3(data []byte) uint32 {
	const c1, c2 = 0xcc9e2d51, 0x1b873593
	length := uint32(len(data))
	var h uint32
	for len(data) >= 4 {
		k := binary.LittleEndian.Uint32(data) * c1
		h ^= bits.RotateLeft32(k, 15) * c2
		h = bits.RotateLeft32(h, 13)*5 + 0xe6546b64
		data = data[4:]
	}
	var k uint32
	switch len(data) {
	case 3:
		k ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		k ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		k ^= uint32(data[0])
		h ^= bits.RotateLeft32(k*c1, 15) * c2
	}
	h ^= length
	h ^= h >> 16
	h *= 0x85ebca6b
	h ^= h >> 13
	h *= 0xc2b2ae35
	return h ^ h>>16
}

package position

// Digest summarises a sequence of positions in constant memory: how many, and
// an order-dependent hash. Two equal sequences have equal digests; two
// different ones differ but for one chance in 2^64.
//
// The daemon compares the digest of what a partition holds above the
// confirmed LSN with the digest of what it replays up to the watermark. A
// difference is a hole (or a foreign message), which must halt and never be
// skipped: a watermark alone cannot see it.
type Digest struct {
	Count uint64
	Sum   uint64
}

// Add appends p to the sequence.
func (d *Digest) Add(p Position) {
	d.Count++
	d.Sum = mix(mix(d.Sum^p.LSN) ^ uint64(p.Epoch)<<32 ^ uint64(p.Index))
}

// mix is the finaliser of splitmix64, a bijection with full avalanche.
func mix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

package schemas

import (
	"encoding/binary"
	"math"
)

// Append appends data, one value of the writer's schema, as a value of the
// reader's. Errors: ErrInvalidAvro when data is not valid, or holds bytes that are
// not a value of the reader's type: not UTF-8 for a string, not a uuid, not a time
// of day, more digits than a decimal's; dst is then returned unchanged. No reference
// to data is kept.
func (r *Resolver) Append(dst, data []byte) ([]byte, error) {
	if err := Validate(r.writer, data); err != nil {
		return dst, err
	}
	if !r.root.changes {
		return append(dst, data...), nil
	}
	x := resolving{walker: walker{data: data, free: math.MaxInt / 2}, out: dst, limit: len(dst) + maxResolvedBytes}
	if x.run(r.root, 0) < 0 {
		return dst, x.error()
	}
	return x.out, nil
}

// resolving runs plans over validated data.
type resolving struct {
	walker
	out     []byte
	limit   int
	offsets []int // of the writer's fields, where the orders differ
}

// run appends the value at off and returns the offset after it, or a negative
// one.
func (x *resolving) run(p *plan, off int) int {
	if !p.changes {
		end := x.skipValid(p.w, off)
		x.out = append(x.out, x.data[off:end]...)
		return end
	}
	switch p.op {
	case planToFloat:
		n, next := x.long(off)
		x.out = binary.LittleEndian.AppendUint32(x.out, math.Float32bits(float32(n)))
		return next
	case planToDouble:
		n, next := x.long(off)
		x.out = binary.LittleEndian.AppendUint64(x.out, math.Float64bits(float64(n)))
		return next
	case planFloatToDouble:
		f := math.Float32frombits(binary.LittleEndian.Uint32(x.data[off:]))
		x.out = binary.LittleEndian.AppendUint64(x.out, math.Float64bits(float64(f)))
		return off + 4
	case planNarrow:
		end := x.value(p.r, off, 0)
		if end >= 0 {
			x.out = append(x.out, x.data[off:end]...)
		}
		return end
	case planEnum:
		n, next := x.long(off)
		x.out = binary.AppendVarint(x.out, int64(p.symbols[n]))
		return next
	case planRecord:
		return x.record(p, off)
	case planArray, planMap:
		return x.items(p, off)
	case planWriterUnion:
		n, next := x.long(off)
		return x.run(p.branches[n], next)
	}
	x.out = binary.AppendVarint(x.out, int64(p.index))
	return x.run(p.items, off)
}

// skipValid returns the offset after a value that has been validated.
func (x *resolving) skipValid(s *Schema, off int) int { return x.value(s, off, 0) }

func (x *resolving) record(p *plan, off int) int {
	if len(x.out) > x.limit {
		return x.fail(off, badResult)
	}
	if !p.ordered {
		return x.reordered(p, off)
	}
	at := 0 // the writer's field at off
	for i := range p.fields {
		f := &p.fields[i]
		if f.from < 0 {
			x.out = append(x.out, f.value...)
			continue
		}
		for ; at < f.from; at++ {
			off = x.skipValid(p.w.Fields[at].Type, off)
		}
		if off = x.run(f.plan, off); off < 0 {
			x.path = append(x.path, step{p.w.Fields[at].Name, stepField})
			return off
		}
		at++
	}
	for ; at < len(p.w.Fields); at++ {
		off = x.skipValid(p.w.Fields[at].Type, off)
	}
	return off
}

// reordered finds all of the writer's fields before it writes the first.
func (x *resolving) reordered(p *plan, off int) int {
	base := len(x.offsets)
	for _, f := range p.w.Fields {
		x.offsets = append(x.offsets, off)
		off = x.skipValid(f.Type, off)
	}
	for i := range p.fields {
		f := &p.fields[i]
		if f.from < 0 {
			x.out = append(x.out, f.value...)
			continue
		}
		if end := x.run(f.plan, x.offsets[base+f.from]); end < 0 {
			x.path = append(x.path, step{p.w.Fields[f.from].Name, stepField})
			return end
		}
	}
	x.offsets = x.offsets[:base]
	return off
}

func (x *resolving) items(p *plan, off int) int {
	for index := 0; ; {
		count, next := x.long(off)
		off = next
		if count < 0 {
			_, off = x.long(off)
			count = -count
		}
		x.out = binary.AppendVarint(x.out, count)
		if count == 0 {
			return off
		}
		for ; count > 0; count-- {
			if p.op == planMap {
				end := x.skipValid(keySchema, off)
				x.out = append(x.out, x.data[off:end]...)
				off = end
			}
			if off = x.run(p.items, off); off < 0 {
				x.path = append(x.path, step{index: index})
				return off
			}
			index++
		}
	}
}

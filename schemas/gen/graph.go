package gen

import (
	"slices"

	"github.com/runnel-cdc/runnel/schemas"
)

// unbounded stands for a size that no value reaches.
const unbounded = 1 << 30

// findSizes computes the least number of bytes of every record. It starts from
// "unbounded" and shrinks until nothing changes, so that recursion through an
// optional field comes out right.
func (p *plan) findSizes() {
	p.sizes = make(map[string]int)
	for _, s := range p.types {
		if s.Type == schemas.Record {
			p.sizes[s.FullName()] = unbounded
		}
	}
	for changed := true; changed; {
		changed = false
		for _, s := range p.types {
			if s.Type != schemas.Record {
				continue
			}
			size := 0
			for _, f := range s.Fields {
				size = min(unbounded, size+p.leastSize(f.Type))
			}
			if size != p.sizes[s.FullName()] {
				p.sizes[s.FullName()] = size
				changed = true
			}
		}
	}
}

// leastSize is the least number of bytes that a value of s takes.
func (p *plan) leastSize(s *schemas.Schema) int {
	switch s.Type {
	case schemas.Null:
		return 0
	case schemas.Float:
		return 4
	case schemas.Double:
		return 8
	case schemas.Fixed:
		return min(unbounded, s.Size)
	case schemas.Record:
		return p.sizes[s.FullName()]
	case schemas.Union:
		least := unbounded
		for _, b := range s.Branches {
			least = min(least, p.leastSize(b))
		}
		return min(unbounded, 1+least)
	}
	return 1
}

// findCycles finds the records that may contain themselves, and those above
// them, which hand the depth down.
func (p *plan) findCycles() {
	p.cycles, p.deep = make(map[string]bool), make(map[string]bool)
	reach := make(map[string]map[string]bool)
	for _, s := range p.types {
		if s.Type == schemas.Record {
			below := make(map[string]bool)
			for _, f := range s.Fields {
				p.records(f.Type, below)
			}
			reach[s.FullName()] = below
			p.cycles[s.FullName()] = below[s.FullName()]
		}
	}
	for name, below := range reach {
		p.deep[name] = p.cycles[name]
		for other := range below {
			p.deep[name] = p.deep[name] || p.cycles[other]
		}
	}
}

// isDeep tells whether s is or holds a record whose depth is counted.
func (p *plan) isDeep(s *schemas.Schema) bool {
	switch s.Type {
	case schemas.Record:
		return p.deep[s.FullName()]
	case schemas.Array, schemas.Map:
		return p.isDeep(s.Items)
	case schemas.Union:
		return slices.ContainsFunc(s.Branches, p.isDeep)
	}
	return false
}

// records adds the names of all records at or below s.
func (p *plan) records(s *schemas.Schema, found map[string]bool) {
	switch s.Type {
	case schemas.Record:
		if found[s.FullName()] {
			return
		}
		found[s.FullName()] = true
		for _, f := range p.byName[s.FullName()].Fields {
			p.records(f.Type, found)
		}
	case schemas.Array, schemas.Map:
		p.records(s.Items, found)
	case schemas.Union:
		for _, b := range s.Branches {
			p.records(b, found)
		}
	}
}

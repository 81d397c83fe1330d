package schemas

import (
	"fmt"
	"strings"
)

const (
	maxResolvePlans   = 1 << 14
	maxResolveReasons = 20
	maxResolvedBytes  = 64 << 20
)

// Resolver turns data of a writer's schema into data of a reader's, by the rules
// of Avro 1.12, "Schema Resolution": fields by name and order-free, the reader's
// aliases and defaults, its enum's default, promotions, unions, recursive types.
// It is immutable and safe for concurrent use.
//
// Where the specification leaves room, or harm would come of it:
//   - Of a reader's union, a branch of the very same type is taken before one that
//     matches by promotion or by its unqualified name only, as Avro's Java library
//     does: a long must not become a double because that branch comes first.
//   - A union of the writer must fit as a whole, not only the values met.
//   - Every value is one of the reader's logical type, or refused.
//   - Times and timestamps of different units do not resolve: the number would be
//     kept, and be wrong a thousandfold. Decimals need equal scale and precision.
type Resolver struct {
	writer, reader *Schema
	root           *plan
}

// plan says how to turn values of w into values of r.
type plan struct {
	op    planOp
	w, r  *Schema
	items *plan // array, map; readerUnion: of its branch

	fields   []fieldPlan // record, in the reader's order
	ordered  bool        // record: the writer has them in the same order
	branches []*plan     // writerUnion, by the writer's branch
	symbols  []int       // enum: the reader's index of the writer's symbol
	index    int         // readerUnion: its branch

	changes bool // the bytes may differ
}

type planOp uint8

const (
	planCopy planOp = iota
	planToFloat
	planToDouble
	planFloatToDouble
	planNarrow // the same bytes, if they are a value of the reader's
	planEnum
	planRecord
	planArray
	planMap
	planWriterUnion
	planReaderUnion
)

// fieldPlan is a field of the reader: the writer's field with its plan, or the
// default.
type fieldPlan struct {
	from  int // the writer's field, or -1
	plan  *plan
	value []byte // the default
}

// NewResolver compiles the way from writer to reader, which must come from this
// package's parser. It returns ErrIncompatible, with all reasons, when some value
// of the writer's could not be read.
func NewResolver(writer, reader *Schema) (*Resolver, error) {
	c := &planner{plans: make(map[[2]*Schema]*plan)}
	root := c.resolve(writer, reader, "$")
	if len(c.reasons) > 0 {
		return nil, ErrIncompatible.New("%s cannot be read as %s: %s", writer.FullName(), reader.FullName(), strings.Join(c.reasons, "; "))
	}
	c.markChanges()
	return &Resolver{writer: writer, reader: reader, root: root}, nil
}

// planner compiles plans, one for each pair of types.
type planner struct {
	plans   map[[2]*Schema]*plan
	all     []*plan
	reasons []string
}

func (c *planner) fail(path, format string, args ...any) {
	switch len(c.reasons) {
	case maxResolveReasons:
		c.reasons = append(c.reasons, "and more")
	case maxResolveReasons + 1:
	default:
		c.reasons = append(c.reasons, path+": "+fmt.Sprintf(format, args...))
	}
}

// resolve returns the plan for a pair. One that is being made further up is
// returned as it is: whatever is wrong with it is found there.
func (c *planner) resolve(w, r *Schema, path string) *plan {
	pair := [2]*Schema{w, r}
	if p := c.plans[pair]; p != nil {
		return p
	}
	p := &plan{w: w, r: r}
	if len(c.all) >= maxResolvePlans || len(path) > 1<<12 {
		c.fail(path[:min(len(path), 80)], "the schemas are too large to compare")
		return p
	}
	c.plans[pair] = p
	c.all = append(c.all, p)
	switch {
	case w.Type == Union:
		c.writerUnion(p, path)
	case r.Type == Union:
		p.op = planReaderUnion
		if p.index = r.branchFor(w); p.index < 0 {
			c.fail(path, "no branch of the reader's union takes %s", w.describe())
			return p
		}
		p.items = c.resolve(w, r.Branches[p.index], path)
	case w.Type == r.Type:
		c.sameType(p, path)
	default:
		op, ok := promotion(w.Type, r.Type)
		if !ok {
			c.fail(path, "the writer has %s, the reader %s", w.describe(), r.describe())
		}
		p.op = op
		c.checkLogical(w, r, path)
	}
	if p.op == planCopy && r.isNarrow() && w.Logical != r.Logical {
		p.op = planNarrow
	}
	return p
}

// isNarrow reports whether not all values of the base type are values of s.
func (s *Schema) isNarrow() bool {
	return s.Logical == Decimal || s.Logical.isTimeOfDay() || s.Logical == UUID && s.Type == String
}

// writerUnion resolves each branch against the reader, be it a union or not.
func (c *planner) writerUnion(p *plan, path string) {
	p.op = planWriterUnion
	for _, b := range p.w.Branches {
		p.branches = append(p.branches, c.resolve(b, p.r, path))
	}
}

func (c *planner) sameType(p *plan, path string) {
	w, r := p.w, p.r
	if w.Name != "" && !r.matchesName(w) {
		c.fail(path, "the writer has %s, the reader %s", w.describe(), r.describe())
		return
	}
	switch w.Type {
	case Record:
		c.record(p, path)
	case Enum:
		c.enum(p, path)
	case Fixed:
		if w.Size != r.Size {
			c.fail(path, "%s has %d bytes at the writer, %d at the reader", r.FullName(), w.Size, r.Size)
		}
	case Array:
		p.op = planArray
		p.items = c.resolve(w.Items, r.Items, path+"[]")
	case Map:
		p.op = planMap
		p.items = c.resolve(w.Items, r.Items, path+"{}")
	}
	c.checkLogical(w, r, path)
}

func (c *planner) record(p *plan, path string) {
	p.op, p.ordered = planRecord, true
	last := -1
	for _, f := range p.r.Fields {
		from := p.w.fieldFor(f)
		at := path + "." + f.Name
		if from < 0 {
			if f.Default == nil {
				c.fail(at, "the writer does not have the field, and the reader has no default for it")
			}
			p.fields = append(p.fields, fieldPlan{from: -1, value: f.defaultAvro})
			continue
		}
		p.ordered = p.ordered && from > last
		last = from
		p.fields = append(p.fields, fieldPlan{from: from, plan: c.resolve(p.w.Fields[from].Type, f.Type, at)})
	}
}

// fieldFor finds the writer's field for a reader's: by name, else by the reader's
// aliases in their order.
func (s *Schema) fieldFor(reader *Field) int {
	if i, ok := s.index[reader.Name]; ok {
		return i
	}
	for _, alias := range reader.Aliases {
		if i, ok := s.index[alias]; ok {
			return i
		}
	}
	return -1
}

func (c *planner) enum(p *plan, path string) {
	p.op = planEnum
	instead, hasDefault := p.r.index[p.r.EnumDefault]
	for _, symbol := range p.w.Symbols {
		i, ok := p.r.index[symbol]
		if !ok {
			if i = instead; !hasDefault {
				c.fail(path, "the reader's %s has neither the symbol %q nor a default", p.r.FullName(), symbol)
			}
		}
		p.symbols = append(p.symbols, i)
	}
}

// checkLogical refuses logical types that would change what a value means.
func (c *planner) checkLogical(w, r *Schema, path string) {
	switch {
	case w.Logical == Decimal && r.Logical == Decimal && (w.Precision != r.Precision || w.Scale != r.Scale):
		c.fail(path, "the writer has decimal(%d,%d), the reader decimal(%d,%d)", w.Precision, w.Scale, r.Precision, r.Scale)
	case w.Logical.isTime() && r.Logical.isTime() &&
		(w.Logical.unitsPerSecond() != r.Logical.unitsPerSecond() || w.Logical.isTimeOfDay() != r.Logical.isTimeOfDay()):
		c.fail(path, "the writer has %s, the reader %s, and the number would be kept", w.Logical, r.Logical)
	}
}

func (l Logical) isTime() bool { return l == Date || l.unitsPerSecond() > 0 }

// matchesName reports whether w's data may be read as s: by the unqualified
// name, or an alias of s.
func (s *Schema) matchesName(w *Schema) bool {
	if s.Name == w.Name {
		return true
	}
	full := w.FullName()
	for _, alias := range s.Aliases {
		if alias == full {
			return true
		}
	}
	return false
}

func promotion(w, r Type) (planOp, bool) {
	switch {
	case w == Int && r == Long:
		return planCopy, true // the same bytes
	case (w == Int || w == Long) && r == Float:
		return planToFloat, true
	case (w == Int || w == Long) && r == Double:
		return planToDouble, true
	case w == Float && r == Double:
		return planFloatToDouble, true
	case w == String && r == Bytes:
		return planCopy, true
	case w == Bytes && r == String:
		return planNarrow, true
	}
	return 0, false
}

// branchFor returns the branch of the union s for values of w, or -1.
func (s *Schema) branchFor(w *Schema) int {
	for i, b := range s.Branches {
		if b.Type == w.Type && b.FullName() == w.FullName() {
			return i
		}
	}
	for i, b := range s.Branches {
		if b.Type == w.Type {
			if b.matchesName(w) && (w.Type != Fixed || w.Size == b.Size) {
				return i
			}
		} else if _, ok := promotion(w.Type, b.Type); ok {
			return i
		}
	}
	return -1
}

// markChanges finds the plans that do more than copy: those that do so by
// themselves, and what contains them.
func (c *planner) markChanges() {
	for again := true; again; {
		again = false
		for i := len(c.all) - 1; i >= 0; i-- {
			if p := c.all[i]; !p.changes && p.findChange() {
				p.changes, again = true, true
			}
		}
	}
}

func (p *plan) findChange() bool {
	switch p.op {
	case planCopy:
		return false
	case planEnum:
		for i, j := range p.symbols {
			if i != j {
				return true
			}
		}
		return false
	case planRecord:
		if len(p.w.Fields) != len(p.fields) {
			return true
		}
		for i, f := range p.fields {
			if f.from != i || f.plan.changes {
				return true
			}
		}
		return false
	case planArray, planMap:
		return p.items.changes
	case planWriterUnion:
		for i, b := range p.branches {
			if b.op != planReaderUnion || b.index != i || b.items.changes {
				return true
			}
		}
		return false
	}
	return true
}

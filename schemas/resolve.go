package schemas

import "strings"

const (
	maxResolveReasons = 20
	maxResolvedBytes  = 64 << 20
)

// Resolver turns data of a writer's schema into data of a reader's, by the rules
// of Avro 1.12, "Schema Resolution": fields by name and order-free, the reader's
// aliases and defaults, its enum's default, promotions, unions, recursive types.
// Compatibility is the judge of what resolves, and says where the specification
// leaves room. Every value that comes out is one of the reader's logical type, or
// is refused. A Resolver is immutable and safe for concurrent use.
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
// package's parser. It returns ErrIncompatible, with the reasons, when Compatibility
// finds an error: when some value of the writer's could not be read, or would be
// wrong.
func NewResolver(writer, reader *Schema) (*Resolver, error) {
	c := newChecker()
	c.run(reader, writer)
	if c.count[Error] > 0 {
		return nil, ErrIncompatible.New("%s cannot be read as %s: %s", writer.FullName(), reader.FullName(), reasons(c.sorted()))
	}
	p := planner{matcher: c.matcher, plans: make(map[[2]*Schema]*plan)}
	root := p.plan(writer, reader)
	for i := 0; i < len(p.all); i++ { // not by recursion: schemas may be deep
		p.fill(p.all[i])
	}
	markChanges(p.all)
	return &Resolver{writer: writer, reader: reader, root: root}, nil
}

// reasons joins what the errors among the findings say.
func reasons(findings []Finding) string {
	var all []string
	for _, f := range findings {
		if f.Rule.Severity != Error {
			continue
		}
		if len(all) == maxResolveReasons {
			all = append(all, "and more")
			break
		}
		all = append(all, f.String())
	}
	return strings.Join(all, "; ")
}

// planner compiles plans, one for each pair of types. It cannot fail: the pairs
// have been found compatible, and there are no more of them than were compared.
type planner struct {
	matcher
	plans map[[2]*Schema]*plan
	all   []*plan
}

// plan returns the plan for a pair, to be filled in.
func (c *planner) plan(w, r *Schema) *plan {
	pair := [2]*Schema{w, r}
	p := c.plans[pair]
	if p == nil {
		p = &plan{w: w, r: r}
		c.plans[pair] = p
		c.all = append(c.all, p)
	}
	return p
}

func (c *planner) fill(p *plan) {
	w, r := p.w, p.r
	switch {
	case w.Type == Union: // each branch against the reader, be it a union or not
		p.op = planWriterUnion
		for _, b := range w.Branches {
			p.branches = append(p.branches, c.plan(b, r))
		}
	case r.Type == Union:
		p.op = planReaderUnion
		p.index, _ = c.branchFor(r, w)
		p.items = c.plan(w, r.Branches[p.index])
	case narrows(r, w):
		p.op = planNarrow
	case r.Type == Record:
		c.record(p)
	case r.Type == Enum:
		p.op = planEnum
		for _, symbol := range w.Symbols {
			i, _ := r.symbolFor(symbol)
			p.symbols = append(p.symbols, i)
		}
	case r.Type == Array, r.Type == Map:
		p.op = map[Type]planOp{Array: planArray, Map: planMap}[r.Type]
		p.items = c.plan(w.Items, r.Items)
	case r.Type == Float && w.Type != Float:
		p.op = planToFloat
	case r.Type == Double && w.Type == Float:
		p.op = planFloatToDouble
	case r.Type == Double && w.Type != Double:
		p.op = planToDouble
	}
}

func (c *planner) record(p *plan) {
	p.op, p.ordered = planRecord, true
	last := -1
	for _, f := range p.r.Fields {
		from := p.w.fieldFor(f)
		if from < 0 {
			p.fields = append(p.fields, fieldPlan{from: -1, value: f.defaultAvro})
			continue
		}
		p.ordered = p.ordered && from > last
		last = from
		p.fields = append(p.fields, fieldPlan{from: from, plan: c.plan(p.w.Fields[from].Type, f.Type)})
	}
}

// markChanges finds the plans that do more than copy: those that do so by
// themselves, and what contains them.
func markChanges(all []*plan) {
	users := make(map[*plan][]*plan)
	var changed []*plan
	mark := func(p *plan) {
		if !p.changes {
			p.changes = true
			changed = append(changed, p)
		}
	}
	for _, p := range all {
		for _, inner := range p.inner() {
			users[inner] = append(users[inner], p)
		}
		if p.changesItself() {
			mark(p)
		}
	}
	for len(changed) > 0 {
		last := len(changed) - 1
		p := changed[last]
		changed = changed[:last]
		for _, user := range users[p] {
			mark(user)
		}
	}
}

// changesItself reports whether p does more than copy, whatever its inner plans do.
func (p *plan) changesItself() bool {
	switch p.op {
	case planCopy, planArray, planMap:
		return false
	case planEnum:
		for i, j := range p.symbols {
			if i != j {
				return true
			}
		}
		return false
	case planRecord:
		for i, f := range p.fields {
			if f.from != i {
				return true
			}
		}
		return len(p.w.Fields) != len(p.fields)
	case planWriterUnion:
		for i, b := range p.branches {
			if b.op != planReaderUnion || b.index != i {
				return true
			}
		}
		return false
	}
	return true
}

// inner returns the plans that p changes with. A union of the writer whose branches
// keep their places changes with what is in them.
func (p *plan) inner() []*plan {
	var inner []*plan
	switch p.op {
	case planArray, planMap:
		inner = append(inner, p.items)
	case planRecord:
		for _, f := range p.fields {
			if f.plan != nil {
				inner = append(inner, f.plan)
			}
		}
	case planWriterUnion:
		for _, b := range p.branches {
			if b.op == planReaderUnion {
				inner = append(inner, b.items)
			}
		}
	}
	return inner
}

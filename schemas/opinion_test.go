package schemas

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"

	"github.com/hamba/avro/v2"
	twmb "github.com/twmb/avro"
	"pgregory.net/rapid"
)

// Two other libraries are asked for their opinion on random schemas and data.
// What they are known to get wrong is kept out of the draw, and said where.

func drawSchema(t *rapid.T, plain bool) (any, string, *Schema) {
	r := &randomSchema{t: t, plain: plain}
	tree := r.record(3)
	text := schemaText(tree)
	s, err := Parse([]byte(text), "random")
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return tree, text, s
}

func TestSchemasAgainstOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, text, s := drawSchema(t, false)
		again, err := Parse([]byte(s.Normalised()), "")
		if err != nil || again.Normalised() != s.Normalised() {
			t.Fatalf("%s normalised is\n%s and then\n%s (%v)", text, s.Normalised(), again.Normalised(), err)
		}
		before, err := twmb.Parse(text)
		if err != nil {
			t.Fatalf("%s: we accept, twmb does not: %v", text, err)
		}
		after, err := twmb.Parse(s.Normalised())
		if err != nil || !bytes.Equal(before.Canonical(), after.Canonical()) {
			t.Fatalf("%s: normalised, twmb reads something else: %s (%v)", text, s.Normalised(), err)
		}
		if _, err := avro.ParseWithCache(s.Normalised(), "", &avro.SchemaCache{}); err != nil {
			t.Fatalf("%s: hamba does not accept it: %v", s.Normalised(), err)
		}
	})
}

// What is valid for us is read, and written back to the same bytes, by both.
func TestDataAgainstOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, text, s := drawSchema(t, true)
		data := appendRandom(t, nil, s, 6, 0)
		if err := Validate(s, data); err != nil {
			t.Fatalf("%s % x: %v", text, data, err)
		}
		other := twmb.MustParse(text)
		var value any
		if rest, err := other.Decode(data, &value, twmb.TaggedUnions()); err != nil || len(rest) > 0 {
			t.Fatalf("%s % x: twmb: %v, %d bytes left", text, data, err, len(rest))
		}
		if back, err := other.Encode(value); err != nil || !bytes.Equal(back, data) {
			t.Fatalf("%s % x: twmb writes % x (%v)", text, data, back, err)
		}
		j, err := other.EncodeJSON(value, twmb.TaggedUnions())
		if err != nil {
			t.Fatal(err)
		}
		if back, err := AppendJSONToAvro(nil, s, j); err != nil || !bytes.Equal(back, data) {
			t.Fatalf("%s % x: twmb's JSON %s becomes % x (%v)", text, data, j, back, err)
		}
		hs, err := avro.ParseWithCache(text, "", &avro.SchemaCache{})
		if err != nil {
			t.Fatal(err)
		}
		var generic any
		if err := avro.Unmarshal(hs, data, &generic); err != nil {
			t.Fatalf("%s % x: hamba: %v", text, data, err)
		}
	})
}

// Random bytes: what we refuse may be accepted by others, which are laxer, but
// what we accept they must be able to read.
func TestValidateIsNotLaxer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, text, s := drawSchema(t, true)
		data := appendRandom(t, nil, s, 6, inBlocks)
		if len(data) > 0 {
			for n := rapid.IntRange(0, 3).Draw(t, "flips"); n > 0; n-- {
				data[rapid.IntRange(0, len(data)-1).Draw(t, "at")] ^= byte(1 << rapid.IntRange(0, 7).Draw(t, "bit"))
			}
		}
		if Validate(s, data) != nil {
			return
		}
		var value any
		if rest, err := twmb.MustParse(text).Decode(data, &value); err != nil || len(rest) > 0 {
			t.Fatalf("%s % x: we accept; twmb: %v, %d bytes left", text, data, err, len(rest))
		}
	})
}

// JSON written by us is read back by us to the same bytes.
func TestJSONBothWays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, text, s := drawSchema(t, false)
		data := appendRandom(t, nil, s, 6, 0)
		j, err := AppendAvroToJSON(nil, s, data)
		if err != nil {
			t.Fatalf("%s % x: %v", text, data, err)
		}
		back, err := AppendJSONToAvro(nil, s, j)
		if err != nil || !bytes.Equal(back, data) {
			t.Fatalf("%s % x: %s becomes % x (%v)", text, data, j, back, err)
		}
	})
}

// Any block structure means the same value.
func TestBlocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, text, s := drawSchema(t, false)
		data := appendRandom(t, nil, s, 6, inBlocks)
		j, err := AppendAvroToJSON(nil, s, data)
		if err != nil {
			t.Fatalf("%s % x: %v", text, data, err)
		}
		plain, err := AppendJSONToAvro(nil, s, j)
		if err != nil {
			t.Fatalf("%s % x: %s: %v", text, data, j, err)
		}
		if again, err := AppendAvroToJSON(nil, s, plain); err != nil || !bytes.Equal(again, j) {
			t.Fatalf("%s: %s became %s (%v)", text, j, again, err)
		}
	})
}

// evolve changes a schema somewhere, in ways that are mostly, not always,
// compatible.
func evolve(t *rapid.T, r *randomSchema, v any) any {
	switch v := v.(type) {
	case string:
		wider := map[string][]any{"int": {"long", "float", "double", "string"}, "long": {"double", "float", "int"}, "float": {"double", "int"},
			"string": {"bytes", "int"}, "bytes": {"string"}}[v]
		switch n := rapid.IntRange(0, 9).Draw(t, "change"); {
		case n < 3 && wider != nil:
			return wider[rapid.IntRange(0, len(wider)-1).Draw(t, "wider")]
		case n == 3 && v != "null" && wider != nil:
			return []any{v, "null"}
		}
	case []any:
		out := make([]any, 0, len(v)+1)
		for _, b := range v {
			if _, named := b.(string); !named {
				b = evolve(t, r, b) // widening plain branches would make doubles
			}
			out = append(out, b)
		}
		switch rapid.IntRange(0, 5).Draw(t, "union") {
		case 0:
			return append(out, r.record(0))
		case 1:
			return append(append([]any{}, out[1:]...), out[0])
		}
		return out
	case map[string]any:
		out := make(map[string]any)
		for key, x := range v {
			out[key] = x
		}
		switch v["type"] {
		case "array":
			out["items"] = evolve(t, r, v["items"])
		case "map":
			out["values"] = evolve(t, r, v["values"])
		case "enum":
			out["symbols"] = []any{[]any{"B", "A", "C"}, []any{"A", "B", "C", "D"}, []any{"C", "A"}, v["symbols"]}[rapid.IntRange(0, 3).Draw(t, "symbols")]
		case "record":
			evolveFields(t, r, out)
		}
		return out
	}
	return v
}

func evolveFields(t *rapid.T, r *randomSchema, record map[string]any) {
	fields := []any{}
	for _, f := range record["fields"].([]any) {
		g := make(map[string]any)
		for key, x := range f.(map[string]any) {
			g[key] = x
		}
		delete(g, "default")
		g["type"] = evolve(t, r, g["type"])
		switch rapid.IntRange(0, 9).Draw(t, "field") {
		case 0:
			g["name"], g["aliases"] = r.name("g"), []any{g["name"]}
		case 1: // gone, with what it defines: only where that breaks no reference
			if _, plain := g["type"].(string); plain {
				continue
			}
		}
		fields = append(fields, g)
	}
	if rapid.IntRange(0, 2).Draw(t, "add") == 0 {
		f := map[string]any{"name": r.name("h"), "type": plainTypes[rapid.IntRange(0, 7).Draw(t, "added")]}
		if rapid.IntRange(0, 5).Draw(t, "with default") > 0 {
			withDefault(f)
		}
		fields = append(fields, f)
	}
	if rapid.Bool().Draw(t, "reorder") {
		order := make([]int, len(fields))
		for i := range order {
			order[i] = i
		}
		shuffled := make([]any, len(fields))
		for i, j := range rapid.Permutation(order).Draw(t, "order") {
			shuffled[i] = fields[j]
		}
		fields = shuffled
	}
	record["fields"] = fields
}

// Resolution gives the same value as twmb's, and fails for the same pairs.
func TestResolverAgainstOther(t *testing.T) {
	resolved, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		r := &randomSchema{t: t, plain: true}
		tree := r.record(3)
		text := schemaText(tree)
		writer, err := Parse([]byte(text), "writer")
		if err != nil {
			t.Fatal(err)
		}
		readerText := schemaText(evolve(t, r, tree))
		reader, err := Parse([]byte(readerText), "reader")
		if err != nil {
			t.Skip("the change broke the schema")
		}
		data := appendRandom(t, nil, writer, 6, inBlocks)
		resolver, err := NewResolver(writer, reader)
		theirs, theirErr := twmb.Resolve(twmb.MustParse(text), twmb.MustParse(readerText))
		if (err == nil) != (theirErr == nil) {
			t.Fatalf("writer %s\nreader %s\nours: %v\ntwmb: %v", text, readerText, err, theirErr)
		}
		if err != nil {
			refused++
			return
		}
		resolved++
		got, err := resolver.Append(nil, data)
		var want, value any
		_, theirErr = theirs.Decode(data, &want, twmb.TaggedUnions())
		if err != nil {
			if theirErr == nil && !holdsBadText(want) {
				t.Fatalf("writer %s\nreader %s\n% x: %v", text, readerText, data, err)
			}
			return
		}
		if err := Validate(reader, got); err != nil {
			t.Fatalf("writer %s\nreader %s\n% x became % x: %v", text, readerText, data, got, err)
		}
		if _, err := twmb.MustParse(readerText).Decode(got, &value, twmb.TaggedUnions()); err != nil || theirErr != nil {
			t.Fatalf("writer %s\nreader %s\n% x: %v %v", text, readerText, data, err, theirErr)
		}
		if a, b := fmt.Sprintf("%#v", value), fmt.Sprintf("%#v", want); !reflect.DeepEqual(value, want) && a != b {
			t.Fatalf("writer %s\nreader %s\n% x\nours %s\ntwmb %s", text, readerText, data, a, b)
		}
	})
	t.Logf("%d pairs resolved, %d refused", resolved, refused)
	if resolved == 0 || refused == 0 {
		t.Errorf("%d pairs resolved, %d refused: the draw is one-sided", resolved, refused)
	}
}

// holdsBadText reports whether a string is not UTF-8: we refuse to make one from
// bytes.
func holdsBadText(v any) bool {
	switch v := v.(type) {
	case string:
		return !bytes.Equal([]byte(v), bytes.ToValidUTF8([]byte(v), []byte("?")))
	case []any:
		for _, x := range v {
			if holdsBadText(x) {
				return true
			}
		}
	case map[string]any:
		for _, x := range v {
			if holdsBadText(x) {
				return true
			}
		}
	}
	return false
}

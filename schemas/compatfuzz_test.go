package schemas

import (
	"errors"
	"reflect"
	"testing"
)

// Whatever two schemas are compared: there is an answer, always the same, the
// decoder agrees with it, and no small value proves it wrong.
func FuzzCompatibility(f *testing.F) {
	for _, p := range readCorpus(f) {
		f.Add(p.reader, p.writer)
	}
	f.Fuzz(func(t *testing.T, readerText, writerText string) {
		reader, err := Parse([]byte(readerText), "reader")
		if err != nil {
			return
		}
		writer, err := Parse([]byte(writerText), "writer")
		if err != nil {
			return
		}
		findings := Compatibility(reader, writer)
		if again := Compatibility(reader, writer); !reflect.DeepEqual(findings, again) {
			t.Fatalf("%v, and then %v", findings, again)
		}
		for _, f := range findings {
			checkFinding(t, corpusPair{name: readerText + " " + writerText}, f)
		}
		resolver, err := NewResolver(writer, reader)
		if (err == nil) == Incompatible(findings) || err != nil && !errors.Is(err, ErrIncompatible) {
			t.Fatalf("reader %s\nwriter %s\n%v, but %v", readerText, writerText, findings, err)
		}
		if own := Compatibility(reader, mustParse(t, reader.JSON())); len(own) > 0 && !hasRule(own, ruleTooLarge) {
			t.Fatalf("%s does not read its own data: %v", readerText, own)
		}
		if resolver == nil {
			return
		}
		for _, data := range newSampler(1, 200).values(writer) {
			value, _ := refDecode(writer, data)
			want, err := reference{}.resolve(value, writer, reader)
			if err != nil {
				t.Fatalf("reader %s\nwriter %s\n% x: %v", readerText, writerText, data, err)
			}
			got, err := resolver.Append(nil, data)
			if err != nil {
				continue // narrowed, or too much of it
			}
			if value, _ := refDecode(reader, got); !reflect.DeepEqual(value, want) {
				t.Fatalf("reader %s\nwriter %s\n% x became %#v, want %#v", readerText, writerText, data, value, want)
			}
		}
	})
}

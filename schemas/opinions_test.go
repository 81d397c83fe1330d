package schemas

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What others say of the pairs of the corpus is kept in testdata/opinions, whose
// README says how they are asked again.

// recorded are opinions by pair, in the order of the columns.
type recorded map[string][]opinion

// digest tells when a pair has changed since others were asked.
func (p corpusPair) digest() string {
	sum := sha256.Sum256([]byte(p.reader + "\x00" + p.writer))
	return hex.EncodeToString(sum[:6])
}

func opinionsFile(name string) string { return filepath.Join("testdata", "opinions", name+".tsv") }

func readOpinions(t testing.TB, name string, pairs []corpusPair) recorded {
	t.Helper()
	text, err := os.ReadFile(opinionsFile(name))
	if err != nil {
		t.Fatal(err)
	}
	lines, out := map[string][]string{}, recorded{}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		columns := strings.Split(line, "\t")
		lines[columns[0]] = columns[1:]
	}
	for _, p := range pairs {
		columns := lines[p.name]
		if len(columns) < 2 || columns[0] != p.digest() {
			t.Errorf("%s: %s has not been asked about it: see testdata/opinions/README.md", p.where(), name)
			continue
		}
		for _, o := range columns[1:] {
			out[p.name] = append(out[p.name], opinion(o))
		}
	}
	if len(lines) != len(pairs) {
		t.Errorf("%s has opinions on %d pairs, of %d", name, len(lines), len(pairs))
	}
	return out
}

// keepOpinions writes opinions down, or compares them with what is written.
func keepOpinions(t *testing.T, name string, pairs []corpusPair, all bool, got recorded) {
	t.Helper()
	if os.Getenv("UPDATE_GOLDEN") == "" {
		want := readOpinions(t, name, pairs)
		for _, p := range pairs {
			if said, asked := got[p.name]; asked && !slices.Equal(said, want[p.name]) {
				t.Errorf("%s: %s says %v, and said %v", p.where(), name, said, want[p.name])
			}
		}
		return
	}
	if !all {
		t.Fatal("not all pairs were asked about")
	}
	var b strings.Builder
	for _, p := range pairs {
		fmt.Fprintf(&b, "%s\t%s", p.name, p.digest())
		for _, o := range got[p.name] {
			b.WriteString("\t" + string(o))
		}
		b.WriteString("\n")
	}
	if err := os.WriteFile(opinionsFile(name), []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOpinionsAreCurrent(t *testing.T) {
	pairs := readCorpus(t)
	readOpinions(t, "java", pairs)
	readOpinions(t, "pulsar", pairs)
}

// Avro's Java library: its checker, and its decoder on values that together take
// every way through the writer's schema.
func TestOpinionsOfJava(t *testing.T) {
	jars := os.Getenv("RUNNEL_AVRO_JARS")
	if jars == "" {
		t.Skip("needs RUNNEL_AVRO_JARS, a folder with Avro's Java library")
	}
	pairs, classes := readCorpus(t), t.TempDir()
	jars = filepath.Join(jars, "*")
	compile := exec.CommandContext(t.Context(), "javac", "-Xlint:all", "-Werror", "-d", classes, "-cp", jars, "testdata/opinions/java/Opinions.java")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var questions, answers, errs bytes.Buffer
	for _, p := range pairs {
		_, writer := p.parse(t)
		data := []string{}
		for _, b := range newSampler(2, 500).values(writer) {
			data = append(data, hex.EncodeToString(b))
		}
		if err := json.NewEncoder(&questions).Encode(map[string]any{"reader": p.reader, "writer": p.writer, "data": data}); err != nil {
			t.Fatal(err)
		}
	}
	ask := exec.CommandContext(t.Context(), "java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", classes+":"+jars, "Opinions")
	ask.Stdin, ask.Stdout, ask.Stderr = &questions, &answers, &errs
	if err := ask.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &errs)
	}
	said := recorded{}
	lines := bufio.NewScanner(&answers)
	lines.Buffer(nil, 1<<20)
	for _, p := range pairs {
		var a struct{ Parser, Checker, Decoder string }
		if !lines.Scan() {
			t.Fatalf("no answer on %s", p.where())
		}
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		checker, decoder := saysIncompatible, saysIncompatible
		switch a.Checker {
		case "COMPATIBLE":
			checker = saysCompatible
		case "INCOMPATIBLE":
		default:
			checker = saysError
		}
		if a.Decoder == "" {
			decoder = saysCompatible
		}
		if a.Parser != "" {
			checker, decoder = saysUnparsable, saysUnparsable
		}
		said[p.name] = []opinion{checker, decoder}
		if testing.Verbose() {
			r, w := p.parse(t)
			if spec := bySpecification(Compatibility(r, w)); checker.differs(spec) || decoder.differs(spec) {
				t.Logf("%s: %s; %+v", p.where(), spec, a)
			}
		}
	}
	keepOpinions(t, "java", pairs, true, said)
}

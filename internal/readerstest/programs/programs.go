package programs

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/runnel-cdc/runnel/internal/pulsartest"
	"github.com/runnel-cdc/runnel/internal/testserver"
)

// Runtime is what programs run with.
type Runtime struct {
	Python string // the interpreter, with the readers' libraries
	Jars   string // a class path: all libraries of Java

	temp string // for what programs leave when they are killed
	env  []string
}

// Program is a command.
type Program struct {
	Name    string
	command []string
	runtime *Runtime
}

// New finds the libraries that examples/readers/setup fetches. Without them the test is
// skipped, or fails when servers are required.
func New(t testing.TB) *Runtime {
	t.Helper()
	env := []string{"RUNNEL_PULSAR_URL=" + pulsartest.URL(t), "RUNNEL_PULSAR_ADMIN_URL=" + pulsartest.AdminURL(t)} // skips first of all
	python, jars, err := Libraries(t)
	if err != nil {
		t.Skip(err)
	}
	temp := t.TempDir()
	return &Runtime{python, jars, temp, append(env, "TMPDIR="+temp)}
}

// Libraries finds what examples/readers/setup fetches: the interpreter that has Python's
// libraries, and a class path with Java's. The error says that they are not there; the
// test fails when servers are required.
func Libraries(t testing.TB) (python, jars string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	check := exec.CommandContext(t.Context(), filepath.Join(examples(), "setup"), "--check")
	check.Stdout, check.Stderr = &stdout, &stderr
	if err := check.Run(); err != nil {
		if os.Getenv(testserver.Servers) == "required" {
			t.Fatalf("examples/readers/setup --check: %v\n%s", err, &stderr)
		}
		return "", "", fmt.Errorf("the readers' libraries are not there: run examples/readers/setup\n%s", &stderr)
	}
	settings := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^export (\w+)='(.*)'$`).FindAllStringSubmatch(stdout.String(), -1) {
		settings[m[1]] = m[2]
	}
	return settings["READERS_PYTHON"], filepath.Join(settings["READERS_JARS"], "*"), nil
}

// examples is the folder of the readers, wherever the test is.
func examples() string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "../../../examples/readers")
}

// Readers returns the readers of examples/readers: commands that take COPY TOPIC
// [--until-idle].
func (r *Runtime) Readers(t testing.TB) []Program {
	t.Helper()
	return []Program{r.java(t), r.PythonProgram("python", filepath.Join(examples(), "python/reader.py"))}
}

var (
	compiled sync.Once
	classes  string // the folder of the compiled Java reader, for all tests
)

// Clean removes what was compiled for all tests.
func Clean() {
	if classes != "" {
		_ = os.RemoveAll(classes)
	}
}

func (r *Runtime) java(t testing.TB) Program {
	t.Helper()
	compiled.Do(func() {
		var err error
		if classes, err = os.MkdirTemp("", "runnel-readers-"); err != nil {
			t.Fatal(err)
		}
		r.Compile(t, classes, filepath.Join(examples(), "java/OrderReader.java"))
	})
	return r.JavaProgram("java", classes, "OrderReader")
}

// Compile compiles Java sources into a folder. Warnings are errors: what a newcomer
// copies has none.
func (r *Runtime) Compile(t testing.TB, into string, sources ...string) {
	t.Helper()
	args := append([]string{"-Xlint:all,-serial", "-Werror", "-d", into, "-cp", into + ":" + r.Jars}, sources...)
	if out, err := exec.CommandContext(t.Context(), JDK("javac"), args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// JavaProgram is a class that was compiled into a folder. It starts quickly, and does
// not compile what runs for long.
func (r *Runtime) JavaProgram(name, classes, class string, args ...string) Program {
	return Program{name, append([]string{JDK("java"), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Djava.io.tmpdir=" + r.temp,
		"-cp", strings.Join([]string{classes, r.Jars}, ":"), class}, args...), r}
}

// PythonProgram is a script.
func (r *Runtime) PythonProgram(name, script string, args ...string) Program {
	return Program{name, append([]string{r.Python, script}, args...), r}
}

// JDK is a program of the Java that JAVA_HOME names, or of the one that is found.
func JDK(name string) string {
	if home := os.Getenv("JAVA_HOME"); home != "" {
		return filepath.Join(home, "bin", name)
	}
	return name
}

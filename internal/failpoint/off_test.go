//go:build !failpoints

package failpoint

import (
	"os"
	"os/exec"
	"testing"
)

// TestTagged runs the tests of the other build: make test builds without the tag.
func TestTagged(t *testing.T) {
	cmd := exec.Command("go", "test", "-tags", "failpoints", ".")
	cmd.Env = os.Environ()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestNothingWithoutTheTag(t *testing.T) {
	Hit("here")
	if Enabled || Error("here") != nil || Arm("here:1:error") == nil {
		t.Error("failpoints do something without their tag")
	}
	if n := testing.AllocsPerRun(100, func() { Hit("here") }); n != 0 {
		t.Errorf("a hit allocates %v times", n)
	}
}

// Command jumpyclock writes an overlay for `go build` under which every program reads a
// clock that jumps: each quarter of a second by anything up to a year, forth and back. The
// monotonic clock goes on as it is, as with a machine whose clock is set.
//
//	jumpyclock DIR
//	go build -overlay DIR/overlay.json ...
//
// It works on the toolchain that is installed, by changing what the runtime's time.now
// returns, so that it reaches the program, its libraries and everything else in them.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

func main() {
	if err := write(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "jumpyclock:", err)
		os.Exit(1)
	}
}

// jump is what is added to the runtime. The step's number alone decides, so that
// processes of one machine agree, as they would about its clock.
const jump = `
// jumped is how far the clock is off, in seconds.
func jumped(mono int64) int64 {
	step := uint64(mono) >> 28
	step *= 0x9e3779b97f4a7c15
	step ^= step >> 32
	step *= 0xd6e8feb86659fd93
	step ^= step >> 32
	const year = 365 * 24 * 3600
	return int64(step%(2*year)) - year
}
`

func write(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: jumpyclock DIR")
	}
	dir, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env GOROOT: %w", err)
	}
	from := filepath.Join(strings.TrimSpace(string(out)), "src", "runtime")
	changed := make(map[string]string) // the text of a file of the runtime
	if runtime.GOOS == "linux" && runtime.GOARCH == "amd64" {
		err = changeAssembly(from, changed)
	} else {
		err = changeFile(changed, filepath.Join(from, "timestub.go"), "	return sec, nsec, nanotime()\n",
			"	mono = nanotime()\n	return sec + jumped(mono), nsec, mono\n", jump)
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for original, text := range changed {
		file := filepath.Join(dir, filepath.Base(original))
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
		overlay.Replace[original] = file
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "overlay.json"), text, 0o644)
}

// changeAssembly puts a function between time.now and the one that is written in assembly.
func changeAssembly(from string, changed map[string]string) error {
	err := changeFile(changed, filepath.Join(from, "time_linux_amd64.s"), "TEXT time·now<ABIInternal>(SB)", "TEXT ·realNow<ABIInternal>(SB)", "")
	if err != nil {
		return err
	}
	return changeFile(changed, filepath.Join(from, "timeasm.go"), "func time_now() (sec int64, nsec int32, mono int64)\n", `func time_now() (sec int64, nsec int32, mono int64) {
	sec, nsec, mono = realNow()
	return sec + jumped(mono), nsec, mono
}

func realNow() (sec int64, nsec int32, mono int64)
`, jump)
}

func changeFile(changed map[string]string, file, old, now, added string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if strings.Count(string(text), old) != 1 {
		return fmt.Errorf("%s of this toolchain does not hold %q once: jumpyclock must be taught about it", file, old)
	}
	changed[file] = strings.Replace(string(text), old, now, 1) + added
	return nil
}

package torture

import (
	"bufio"
	"os"
	"runtime"
)

// Burn is the body of a process that takes the processors away from the others,
// until its standard input ends.
func Burn() {
	const threads = 16 // against a handful of each server's
	runtime.GOMAXPROCS(threads)
	for range threads {
		go func() {
			for n := uint64(1); n != 0; n++ {
			}
		}()
	}
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
}

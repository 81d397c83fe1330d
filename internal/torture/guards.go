package torture

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/router"
)

// guards finds the codes with which daemon and projection say that something is as
// no fault of the harness can make it: what they lead to may be whole again in the
// end, and there is a bug all the same. Nor does a handler of the harness discard.
var guards = regexp.MustCompile(`\b(` + strings.Join([]string{
	broker.ErrAckOrder.ID, broker.ErrHole.ID,
	capture.ErrGap.ID, pipeline.ErrHistory.ID, pipeline.ErrTruncated.ID,
	router.ErrHole.ID, router.ErrEpochAhead.ID, router.ErrAckOrder.ID,
	consumers.ErrGap.ID, consumers.ErrForeignMessage.ID, consumers.ErrHandlerTx.ID,
	"event discarded",
}, "|") + `)\b`)

// readGuards returns the first line of the logs with each of the codes.
func readGuards(dir string) (map[string]string, error) {
	said := make(map[string]string)
	for _, name := range []string{"daemon.log", "copy.log"} {
		if err := guardsIn(filepath.Join(dir, name), said); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return said, nil
}

func guardsIn(file string, said map[string]string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // read only
	for r := bufio.NewReader(f); ; {
		line, err := r.ReadString('\n')
		for _, code := range guards.FindAllString(line, -1) {
			if said[code] == "" {
				said[code] = strings.TrimSpace(line)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

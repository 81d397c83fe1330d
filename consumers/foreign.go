package consumers

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/fault"
)

// A message that Runnel did not write stops who reads its topic, until a person has
// listed it. Then it is passed over.
//
// Invariant: only a message that cannot be read as one of Runnel's is passed over, and
// it moves no position. So if it was an event after all, the ordinal of the next one
// says that an event is missing.

// parseForeign reads a list of messages that are to be passed over; field is what to
// call it.
func parseForeign(field string, list []string) (broker.Foreign, error) {
	listed, err := broker.ParseForeign(list)
	if err != nil {
		return nil, ErrConfig.New("%s holds %v; %s names them", field, err, ErrForeignMessage.ID)
	}
	return listed, nil
}

// foreigners knows the foreign messages of one partition that are listed. One
// goroutine uses it.
type foreigners struct {
	codec  *codec
	listed broker.Foreign  // of all partitions; not changed
	told   map[string]bool // names that the log was told of
	log    *slog.Logger
}

func newForeigners(c *codec, listed broker.Foreign, log *slog.Logger) foreigners {
	return foreigners{codec: c, listed: listed, told: make(map[string]bool), log: log}
}

// passes reports whether a message is to be passed over.
func (f *foreigners) passes(in *broker.Incoming) bool {
	if !f.listed.Lists(in) {
		return false
	}
	_, _, err := f.codec.read(in)
	if err == nil {
		return false
	}
	if name := in.Name(); !f.told[name] {
		f.told[name] = true
		f.log.Warn("a listed message that was not published by Runnel is passed over", keyError, err)
	}
	return true
}

// without returns the messages of a batch that are not passed over; and the last one
// when it is, to be acknowledged as soon as those before it are done.
func (f *foreigners) without(batch []*broker.Incoming) (own []*broker.Incoming, last *broker.Incoming) {
	if len(f.listed) == 0 {
		return batch, nil
	}
	own = make([]*broker.Incoming, 0, len(batch))
	for _, in := range batch {
		if last = nil; f.passes(in) {
			last = in
			continue
		}
		own = append(own, in)
	}
	return own, last
}

// remedyNames bounds how many messages a remedy names.
const remedyNames = 20

// remedy completes the error of reading the first of some messages: all of them that
// have to be listed are named, so that each does not take a start of its own.
func (f *foreigners) remedy(err error, batch []*broker.Incoming) error {
	e := fault.Find(err)
	if e == nil {
		return err
	}
	var names []string
	for _, in := range batch {
		if _, _, err := f.codec.read(in); err != nil && !f.listed.Lists(in) {
			names = append(names, strconv.Quote(in.Name()))
		}
	}
	rest := ""
	if n := len(names) - remedyNames; n > 0 {
		names, rest = names[:remedyNames], fmt.Sprintf(" and %d more", n)
	}
	return e.Fix("%s Received so far: %s%s.", ErrForeignMessage.Remedy, strings.Join(names, ", "), rest)
}

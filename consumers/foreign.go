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

// messageName is how errors name a message, and how it is listed.
func messageName(in *broker.Incoming) string { return in.Partition.String() + " " + in.ID.String() }

// messagePlace is where a listed message lies. A message outside of a batch may have
// no index in it or the first one, depending on the client.
type messagePlace struct {
	partition     broker.Partition
	ledger, entry int64
	batch         int32
}

func placeOf(of broker.Partition, id broker.MessageID) messagePlace {
	return messagePlace{of, id.Ledger, id.Entry, max(id.Batch, 0)}
}

// parsePlace reads what messageName wrote.
func parsePlace(name string) (messagePlace, bool) {
	partition, id, _ := strings.Cut(name, " ")
	cut := strings.LastIndexByte(partition, '-') + 1
	index, err := strconv.Atoi(partition[cut:])
	if err != nil {
		return messagePlace{}, false
	}
	in := broker.Incoming{Partition: broker.Partition{Topic: strings.TrimSuffix(partition[:cut], "-partition-"), Index: index}}
	if full, err := topicNames("", []string{in.Partition.Topic}); err != nil || full[0] != in.Partition.Topic {
		return messagePlace{}, false
	}
	in.ID, err = broker.ParseMessageID(id)
	return placeOf(in.Partition, in.ID), err == nil && messageName(&in) == name
}

// parseForeign reads a list of messages that are to be passed over; field is what to
// call it.
func parseForeign(field string, list []string) (map[messagePlace]bool, error) {
	listed := make(map[messagePlace]bool, len(list))
	for _, name := range list {
		at, ok := parsePlace(name)
		if !ok {
			return nil, ErrConfig.New("%s holds %.300q, which does not name a message as %s does: persistent://tenant/namespace/name-partition-0 19:0:0",
				field, name, ErrForeignMessage.ID)
		}
		if listed[at] {
			return nil, ErrConfig.New("%s holds %s twice", field, name)
		}
		listed[at] = true
	}
	return listed, nil
}

// foreigners knows the foreign messages of one partition that are listed. One
// goroutine uses it.
type foreigners struct {
	codec  *codec
	listed map[messagePlace]bool // of all partitions; not changed
	told   map[messagePlace]bool // which the log was told of
	log    *slog.Logger
}

func newForeigners(c *codec, listed map[messagePlace]bool, log *slog.Logger) foreigners {
	return foreigners{codec: c, listed: listed, told: make(map[messagePlace]bool), log: log}
}

// passes reports whether a message is to be passed over.
func (f *foreigners) passes(in *broker.Incoming) bool {
	at := placeOf(in.Partition, in.ID)
	if !f.listed[at] {
		return false
	}
	_, _, err := f.codec.read(in)
	if err == nil {
		return false
	}
	if !f.told[at] {
		f.told[at] = true
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
		if _, _, err := f.codec.read(in); err != nil && !f.listed[placeOf(in.Partition, in.ID)] {
			names = append(names, strconv.Quote(messageName(in)))
		}
	}
	rest := ""
	if n := len(names) - remedyNames; n > 0 {
		names, rest = names[:remedyNames], fmt.Sprintf(" and %d more", n)
	}
	return e.Fix("%s Received so far: %s%s.", ErrForeignMessage.Remedy, strings.Join(names, ", "), rest)
}

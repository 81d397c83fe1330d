package broker

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strconv"
)

// stateOpen is ledgerStats.State of a partition whose last ledger is open for adds.
const stateOpen = "LedgerOpened"

// ledgerClosed is LedgerMetadata.State of a ledger whose last entry is known.
const ledgerClosed = "CLOSED"

// abandoned reports whether settled stats may not be the last word on a partition's last
// ledger, and names it.
//
// The broker gives an add up when too many bookies fail, and closes the ledger behind the
// last one that it has acknowledged. If the metadata service does not answer then, the
// ledger stays open, and no other is made before somebody sends again. When it is opened to
// be read, maybe much later, BookKeeper recovers it: adds that were given up, and whose
// sender was told so, are part of it from then on (seen on Pulsar 4.0.8, as TestLedgerLeftOpen
// plays it). The broker itself does not open it as long as it has it in hand
// (ManagedLedgerImpl.currentLedger): see giveBack.
//
// A ledger that others follow is not asked for: the broker makes the next one with what it
// has not given up, and the question would make it open every ledger of the partition.
func (p *Pulsar) abandoned(ctx context.Context, q Partition, s ledgerStats) (ledger int64, is bool, err error) {
	if s.State == stateOpen || len(s.Ledgers) == 0 {
		return 0, false, nil
	}
	full, err := p.ledgers(ctx, q, true)
	if err != nil {
		return 0, false, err
	}
	if len(full.Ledgers) == 0 || full.State == stateOpen {
		return 0, true, nil // it went on: ask again
	}
	l := full.Ledgers[len(full.Ledgers)-1]
	state, last, known := parseLedgerMetadata(l.Metadata)
	return l.ID, !known || state != ledgerClosed || last+1 != l.Entries, nil
}

// giveBack makes the broker let go of a partition, and with it of a ledger that it has given
// up: whoever has it next recovers that, and counts what is in it. Producers and readers
// connect again.
func (p *Pulsar) giveBack(ctx context.Context, q Partition, ledger int64) error {
	path, err := topicPath(q.String())
	if err == nil {
		_, err = p.rest.call(ctx, http.MethodPut, path+"/unload", nil, nil)
	}
	switch {
	case errors.Is(err, ErrForbidden):
		return ErrLedgerOpen.Wrap(err, "%s: ledger %d", q, ledger)
	case err != nil:
		return err
	}
	return ErrNotSettled.New("%s: the broker had given up ledger %d without closing it, and lets go of the partition now", q, ledger)
}

// ledgerMetadata is LedgerMetadataImpl.toSafeString of BookKeeper.
var ledgerMetadata = regexp.MustCompile(`\bstate=([A-Z_]+)\b(?:.*\blastEntryId=(-?\d+)\b)?`)

// parseLedgerMetadata reads the state of a ledger and its last entry, which only a closed
// one has.
func parseLedgerMetadata(text string) (state string, last int64, known bool) {
	m := ledgerMetadata.FindStringSubmatch(text)
	if m == nil {
		return "", 0, false
	}
	if m[1] != ledgerClosed {
		return m[1], 0, true
	}
	last, err := strconv.ParseInt(m[2], 10, 64)
	return m[1], last, err == nil
}

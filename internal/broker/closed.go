package broker

import (
	"context"
	"regexp"
	"strconv"
	"time"
)

// stateOpen is ledgerStats.State of a partition whose last ledger is open for adds.
const stateOpen = "LedgerOpened"

// complete requires that what settled stats say is all that there will ever be of the ledgers
// that take no more adds, and completes the stats by what they do not know.
//
// The broker gives an add up when too many bookies fail, and closes the ledger behind the
// last one that it has acknowledged. If the metadata service does not answer then, the
// ledger stays open; and when it is opened to be read, maybe much later, BookKeeper
// recovers it: adds that were given up, and whose sender was told so, are part of it from
// then on (seen on Pulsar 4.0.8, with ZooKeeper killed and bookies restarted). So a ledger
// that is not closed is opened here, before anything is said of the tail.
func (p *Pulsar) complete(ctx context.Context, q Partition, s ledgerStats) (now ledgerStats, ok bool, err error) {
	tail, any := s.tail()
	if !any || s.State == stateOpen && tail.Ledger == s.Ledgers[len(s.Ledgers)-1].ID {
		return s, true, nil // the broker itself has the ledger open
	}
	full, err := p.ledgers(ctx, q, true)
	if err != nil {
		return s, false, err
	}
	for i := range full.Ledgers {
		l := &full.Ledgers[i]
		if l.ID < tail.Ledger || l.Metadata == "" || full.State == stateOpen && i == len(full.Ledgers)-1 {
			continue
		}
		state, last, known := parseLedgerMetadata(l.Metadata)
		switch {
		case !known:
		case state != "CLOSED":
			return s, false, p.recoverLedger(ctx, q, entryID{l.ID, max(l.Entries-1, 0)})
		default:
			l.Entries = max(l.Entries, last+1)
		}
	}
	return full, full.last == s.last && full.Added == s.Added && full.Pending == 0, nil
}

// recoverLedger lets the broker open a ledger to read from it, which makes BookKeeper
// close it. That there is nothing to read, or not yet, is no error.
func (p *Pulsar) recoverLedger(ctx context.Context, q Partition, at entryID) error {
	r, err := p.openReader(ctx, q, fromEntry(at), 1)
	if err != nil {
		return err
	}
	defer r.Close()
	limited, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err = r.Next(limited); err != nil && limited.Err() != nil && ctx.Err() == nil {
		return nil
	}
	return err
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
	if m[1] != "CLOSED" {
		return m[1], 0, true
	}
	last, err := strconv.ParseInt(m[2], 10, 64)
	return m[1], last, err == nil
}

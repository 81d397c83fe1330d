package broker

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestLedgerMetadata(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		state string
		last  int64
		known bool
	}{
		`LedgerMetadata{formatVersion=3, ensembleSize=3, writeQuorumSize=3, ackQuorumSize=2, state=CLOSED, length=4211, lastEntryId=1907, digestType=CRC32C, password=OMITTED, ensembles={0=[127.0.0.1:1]}, customMetadata={component=base64:bWFuYWdlZC1sZWRnZXI=}}`: {"CLOSED", 1907, true},
		`LedgerMetadata{formatVersion=3, ensembleSize=1, state=CLOSED, length=0, lastEntryId=-1, digestType=CRC32C}`:                                                                                                                                                 {"CLOSED", -1, true},
		`LedgerMetadata{formatVersion=3, ensembleSize=3, state=OPEN, digestType=CRC32C}`:                                                                                                                                                                             {"OPEN", 0, true},
		`LedgerMetadata{state=IN_RECOVERY, digestType=CRC32C}`:                                                                                                                                                                                                       {"IN_RECOVERY", 0, true},
		`LedgerMetadata{state=CLOSED, digestType=CRC32C}`:                                                                                                                                                                                                            {"CLOSED", 0, false},
		``:               {},
		`something else`: {},
	} {
		if state, last, known := parseLedgerMetadata(text); state != want.state || last != want.last || known != want.known {
			t.Errorf("%s: %s, %d, %t", text, state, last, known)
		}
	}
}

// A ledger that the broker has given up and not closed: nothing is said of the tail before
// the partition was unloaded.
func TestAbandonedLedger(t *testing.T) {
	t.Parallel()
	q := Partition{Topic: "persistent://a/b/c"}
	const given = `{"state":"ClosedLedger","pendingAddEntriesCount":0,"entriesAddedCounter":89,"lastConfirmedEntry":"5:88","currentLedgerEntries":414,
		"ledgers":[{"ledgerId":5,"entries":89,"metadata":"LedgerMetadata{ensembleSize=3, state=OPEN, digestType=CRC32C}"}]}`
	const reopened = `{"state":"LedgerOpened","pendingAddEntriesCount":0,"entriesAddedCounter":0,"lastConfirmedEntry":"5:413","currentLedgerEntries":0,
		"ledgers":[{"ledgerId":5,"entries":414,"metadata":"LedgerMetadata{ensembleSize=3, state=CLOSED, lastEntryId=413, digestType=CRC32C}"},{"ledgerId":9,"entries":0}]}`
	stats, answer := given, http.StatusForbidden
	var asked []string
	p, _ := restOf(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, stats)
			return
		}
		asked = append(asked, r.Method+" "+r.URL.Path)
		w.WriteHeader(answer)
		stats = reopened
	}, Config{OperationTimeout: 300 * time.Millisecond})

	if _, err := p.settle(t.Context(), q); !errors.Is(err, ErrLedgerOpen) || !strings.Contains(err.Error(), "ledger 5") {
		t.Errorf("it may not be unloaded: %v", err)
	}
	stats, answer = given, http.StatusNoContent
	if _, err := p.settle(t.Context(), q); !errors.Is(err, ErrNotSettled) {
		t.Errorf("it was unloaded: %v", err)
	}
	if want := "PUT /admin/v2/persistent/a/b/c-partition-0/unload"; !slices.Equal(asked, []string{want, want}) {
		t.Errorf("asked for %q", asked)
	}
	settled, err := p.settle(t.Context(), q)
	if tail, _ := settled.tail(); err != nil || tail != (entryID{5, 413}) {
		t.Errorf("the tail is %v, %v", tail, err)
	}
}

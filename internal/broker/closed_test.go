package broker

import "testing"

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

package broker

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"
)

// ledgers builds settled stats: the last ledger is open.
func ledgers(counts ...int64) ledgerStats {
	s := ledgerStats{State: "LedgerOpened"}
	for i, n := range counts {
		s.Ledgers = append(s.Ledgers, ledgerInfo{ID: int64(10 * (i + 1)), Entries: n})
	}
	return s
}

// Entries of all ledgers in a row are the model that back and follows are
// compared with.
func TestLedgers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		counts := rapid.SliceOfN(rapid.Int64Range(0, 5), 1, 6).Draw(t, "counts")
		s := ledgers(counts...)
		var all []entryID
		for _, l := range s.Ledgers {
			for e := range l.Entries {
				all = append(all, entryID{l.ID, e})
			}
		}
		tail, any := s.tail()
		if any != (len(all) > 0) || (any && tail != all[len(all)-1]) {
			t.Fatalf("tail %v %v of %v", tail, any, all)
		}
		if !any {
			return
		}
		i := rapid.IntRange(0, len(all)-1).Draw(t, "i")
		n := rapid.IntRange(0, len(all)+2).Draw(t, "n")
		at, first := s.back(all[i], int64(n))
		if want := all[max(i-n, 0)]; at != want || first != (i-n <= 0) {
			t.Fatalf("back(%v, %d) of %v: %v %v", all[i], n, all, at, first)
		}
		j := rapid.IntRange(0, len(all)-1).Draw(t, "j")
		if got := s.follows(all[i], true, all[j]); got != (j == i+1) {
			t.Fatalf("follows(%v, %v) of %v: %v", all[i], all[j], all, got)
		}
		if got := s.follows(entryID{}, false, all[j]); got != (j == 0) {
			t.Fatalf("%v is first of %v: %v", all[j], all, got)
		}
	})
}

func TestLedgersAsReported(t *testing.T) {
	for text, want := range map[string]entryID{
		`{"lastConfirmedEntry":"4:-1","currentLedgerEntries":0,"ledgers":[{"ledgerId":4,"entries":0}]}`:                           {0, 0},
		`{"lastConfirmedEntry":"4:2","currentLedgerEntries":3,"ledgers":[{"ledgerId":4,"entries":0}]}`:                            {4, 2},
		`{"lastConfirmedEntry":"4:2","currentLedgerEntries":0,"ledgers":[{"ledgerId":4,"entries":3},{"ledgerId":9,"entries":0}]}`: {4, 2},
		`{"lastConfirmedEntry":"4:2","currentLedgerEntries":3,"state":"Terminated","ledgers":[{"ledgerId":4,"entries":3}]}`:       {4, 2},
		`{"lastConfirmedEntry":"9:0","currentLedgerEntries":1,"ledgers":[{"ledgerId":4,"entries":3},{"ledgerId":9,"entries":0}]}`: {9, 0},
	} {
		var s ledgerStats
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		if err := s.finish(); err != nil {
			t.Fatal(err)
		}
		if at, _ := s.tail(); at != want {
			t.Errorf("%s: tail %v, want %v", text, at, want)
		}
	}
	for _, bad := range []string{`{}`, `{"lastConfirmedEntry":"4"}`, `{"lastConfirmedEntry":"4:x"}`,
		`{"lastConfirmedEntry":"4:1","ledgers":[{"ledgerId":4},{"ledgerId":4}]}`, `{"lastConfirmedEntry":"4:1","ledgers":[{"ledgerId":4,"entries":-1}]}`} {
		var s ledgerStats
		if err := json.Unmarshal([]byte(bad), &s); err != nil {
			t.Fatal(err)
		}
		if s.finish() == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func FuzzInternalStats(f *testing.F) {
	f.Add([]byte(`{"lastConfirmedEntry":"4:2","currentLedgerEntries":0,"ledgers":[{"ledgerId":4,"entries":3},{"ledgerId":9,"entries":0}]}`), int64(2))
	f.Add([]byte(`{"lastConfirmedEntry":"9223372036854775807:-9223372036854775808","ledgers":[{"ledgerId":-4,"entries":9223372036854775807}]}`), int64(-1))
	f.Fuzz(func(t *testing.T, data []byte, n int64) {
		var s ledgerStats
		if json.Unmarshal(data, &s) != nil || s.finish() != nil {
			return
		}
		at, any := s.tail()
		if back, _ := s.back(at, max(n, 0)); any && (back.Entry < 0 || back.after(at)) {
			t.Fatalf("back from %v: %v", at, back)
		}
		s.follows(at, any, entryID{n, 0})
	})
}

func TestTopicNames(t *testing.T) {
	for name, want := range map[string]string{
		"persistent://public/runnel/order":      "/persistent/public/runnel/order",
		"persistent://public/runnel/a b%/c?d#e": "/persistent/public/runnel/a%20b%25%2Fc%3Fd%23e",
		"persistent://public/runnel/..":         "",
		"order":                                 "",
		"persistent://public/order":             "",
		"non-persistent://public/runnel/order":  "",
		"persistent://../admin/order":           "",
		"persistent://pub lic/runnel/order":     "",
		"persistent://public/runnel/":           "",
		"persistent://public//order":            "",
		"persistent://public/run%2fnel/order":   "",
		"persistent://public/runnel?x=1/order":  "",
		"persistent://public/runnel/order-part": "/persistent/public/runnel/order-part",
		"persistent://public/runnel/\xff\x00\n": "/persistent/public/runnel/%FF%00%0A",
	} {
		got, err := topicPath(name)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("topicPath(%q) = %q, %v; want %q", name, got, err, want)
		}
	}
}

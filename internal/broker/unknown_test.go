package broker

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/fault"
)

// A topic whose state stays unknown holds nobody up for ever: the attempt ends
// with a reason, and the next run asks again.
func TestUnknownStateIsBounded(t *testing.T) {
	const timeout = 300 * time.Millisecond
	q := Partition{Topic: "persistent://public/runnel/order"}
	silent := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	text := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
	}
	var adds atomic.Int64
	deduplication := func(p *Pulsar) error { return p.checkDeduplication(t.Context(), q) }
	settles := func(p *Pulsar) error { _, err := p.settle(t.Context(), q); return err }
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		ask    func(*Pulsar) error
		want   *fault.Code
		says   string
	}{
		"deduplication recovers for ever": {text(`{"deduplicationStatus":"Recovering"}`), deduplication, ErrNotReady, `"Recovering"`},
		"deduplication is never taken up": {text(`{"deduplicationStatus":"Initialized"}`), deduplication, ErrNotReady, `"Initialized"`},
		"deduplication failed":            {text(`{"deduplicationStatus":"Failed"}`), deduplication, ErrDeduplicationOff, `"Failed"`},
		"no answer about deduplication":   {silent, deduplication, ErrUnreachable, "asking the admin interface"},
		"no answer about the ledgers":     {silent, settles, ErrUnreachable, "asking the admin interface"},
		"an add is pending for ever":      {text(statsText("1", "4:2")), settles, ErrNotSettled, "1 adds pending"},
		"somebody goes on adding, for ever": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, statsText("0", "4:"+itoa(adds.Add(1))))
		}, settles, ErrNotSettled, "last entry 4:"},
	} {
		p, _ := restOf(t, tc.answer, Config{OperationTimeout: timeout})
		began := time.Now()
		err := tc.ask(p)
		if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want %s with %s", name, err, tc.want.ID, tc.says)
		}
		if took := time.Since(began); took > 10*timeout {
			t.Errorf("%s: it took %s", name, took)
		}
	}
}

func statsText(pending, last string) string {
	return `{"pendingAddEntriesCount":` + pending + `,"lastConfirmedEntry":"` + last + `","currentLedgerEntries":3,"ledgers":[{"ledgerId":4,"entries":0}]}`
}

// A topic whose owner nobody names: the broker greets, and does not answer the
// lookup.
func TestLookupNeverAnswers(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path.Base(r.URL.Path) != "partitions" { // no policy
			w.WriteHeader(http.StatusNoContent)
			return
		}
		_, _ = io.WriteString(w, `{"partitions":1}`)
	}))
	defer web.Close()
	address := listen(t, plain(t), func(c net.Conn) {
		answer(connected)(c)
		_, _ = io.Copy(io.Discard, c)
	})
	const timeout = 300 * time.Millisecond
	p, err := Dial(t.Context(), Config{URL: "pulsar://" + address, AdminURL: web.URL, OperationTimeout: timeout, KeepAlive: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	q := Partition{Topic: "persistent://public/runnel/order"}
	began := time.Now()
	_, _, err = p.Acquire(t.Context(), AcquireRequest{Partition: q, Producer: "runnel-test"}, nil)
	if !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), q.String()+": becoming its producer") || !strings.Contains(err.Error(), "timed out") {
		t.Error(err)
	}
	if took := time.Since(began); took > 20*timeout {
		t.Errorf("it took %s", took)
	}
}

package pipeline

import (
	"errors"
	"fmt"
	"testing"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/router"
	"github.com/runnel-cdc/runnel/schemas"
)

// What passes by itself is waited for; what needs a person halts.
func TestHalts(t *testing.T) {
	for _, code := range []*fault.Code{
		broker.ErrNotReady, broker.ErrUnreachable, broker.ErrLost, broker.ErrQuota, capture.ErrUnreachable,
		schemas.ErrRegistryUnreachable, ErrStalled, ErrLaneLost,
	} {
		if halts(fmt.Errorf("the run: %w", code.New("x"))) {
			t.Errorf("%s halts", code.ID)
		}
	}
	for _, code := range []*fault.Code{
		broker.ErrHole, broker.ErrTopicMissing, broker.ErrTopicTerminated, capture.ErrSlotMissing, router.ErrUnknownEvent, capture.ErrGap, ErrTruncated,
	} {
		if !halts(fmt.Errorf("the run: %w", code.New("x"))) {
			t.Errorf("%s passes", code.ID)
		}
	}
	if halts(errors.New("connection reset")) {
		t.Error("an error without a code halts")
	}
}

// The code is in a field of its own, and so not in the message.
func TestStatusOfAnError(t *testing.T) {
	lost := errors.New("EOF")
	for want, err := range map[string]error{
		"the slot is gone":                           capture.ErrGap.New("the slot is gone"),
		"position 7: no type":                        capture.ErrGap.New("no type").At("position 7"),
		"topic order: position 7: no type: EOF":      fmt.Errorf("topic order: %w", capture.ErrGap.Wrap(lost, "no type").At("position 7")),
		"t: no topic: t/2: TOPIC_MISSING no such":    capture.ErrGap.Wrap(broker.ErrTopicMissing.New("no such").At("t/2"), "no topic").At("t"),
		"SLOT_GAP: is what a message may begin with": capture.ErrGap.New("SLOT_GAP: is what a message may begin with"),
	} {
		r := newReporter(Config{Name: "shop", Version: "v1"})
		r.halted(err)
		st := r.status()
		if st.Code != capture.ErrGap.ID || st.Message != want || st.Remedy != capture.ErrGap.Remedy {
			t.Errorf("%+v; want the message %q", st, want)
		}
		if st.Version != "v1" || st.Started.IsZero() || st.State != Halted {
			t.Errorf("%+v", st)
		}
	}
}

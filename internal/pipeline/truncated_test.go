package pipeline

import (
	"regexp"
	"testing"

	"github.com/runnel-cdc/runnel/internal/wire"
)

// The example of accept_lost shows what it takes: a topic's full name.
func TestExampleOfAcceptLost(t *testing.T) {
	topic := regexp.MustCompile(`accept_lost\('[^']+', '([^']+)'\);$`).FindStringSubmatch(ErrTruncated.Remedy)
	if want := wire.TopicName("tenant/namespace", "topic"); topic == nil || topic[1] != want {
		t.Errorf("%q, want a statement for %s", ErrTruncated.Remedy, want)
	}
}

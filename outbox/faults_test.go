package outbox

import (
	"errors"
	"testing"
)

// No server that old is at hand: the rule alone.
func TestRefusesOldServers(t *testing.T) {
	t.Parallel()
	if err := refuseOld(140012, "14.12"); !errors.Is(err, ErrPostgresTooOld) {
		t.Errorf("14.12: %v", err)
	}
	if err := refuseOld(150000, "15.0"); err != nil {
		t.Errorf("15.0: %v", err)
	}
}

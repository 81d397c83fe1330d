package broker_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if request := os.Getenv(childVariable); request != "" {
		os.Exit(publishAsChild(request))
	}
	goleak.VerifyTestMain(m)
}

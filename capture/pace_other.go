//go:build !linux

package capture

import "errors"

// setReceiveLowWater has its use only where waiting honours it.
func setReceiveLowWater(uintptr, int) error { return errors.ErrUnsupported }

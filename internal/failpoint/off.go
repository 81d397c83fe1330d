//go:build !failpoints

package failpoint

import "errors"

// Enabled reports whether the binary was built with failpoints.
const Enabled = false

// Hit does nothing without the build tag.
func Hit(string) {}

// Error returns nil without the build tag.
func Error(string) error { return nil }

// Arm refuses without the build tag.
func Arm(string) error { return errors.New("failpoint: built without the tag failpoints") }

package pgfault

import "errors"

// State returns the SQLSTATE of an error of the database, or "". Every driver worth
// using has the method.
func State(err error) string {
	var coded interface{ SQLState() string }
	if !errors.As(err, &coded) {
		return ""
	}
	return coded.SQLState()
}

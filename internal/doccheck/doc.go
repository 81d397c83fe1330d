// Package doccheck holds the tests that keep true what is written for people:
// README.md, docs, and the remedies of faults. Commands, flags, make targets and
// links that they name exist; the code that the README shows is in the examples.
package doccheck

// Package readerstest holds the tests of examples/readers: the readers in Java and
// Python run as a user would run them, against real servers, and their copies
// are compared with the one that Go makes.
//
//	orders ──▶ daemon ──▶ topic order ──┬──▶ fulfilment (Go, Postgres)
//	                                    ├──▶ OrderReader.java (SQLite)
//	                                    └──▶ reader.py (SQLite)
//
// It also keeps docs/messages.md true: to the readers, and to what psql and the
// client of Pulsar's distribution show (tools_test.go). There is nothing to import
// here. Start with TestCopiesAreEqual in copies_test.go.
package readerstest

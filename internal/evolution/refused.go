package evolution

import (
	"errors"
	"strings"
)

// Refused returns one error for all findings that are in a change's way: each an
// ErrRefused with the place in the catalog, what breaks for whom, and what to do.
func Refused(blocked []Finding) error {
	var all []error
	for i := range blocked {
		f := &blocked[i]
		text := f.What() + ". " + f.Meaning()
		if len(f.Readers) > 0 && !f.NamesReader() {
			text += " Concerned: " + ReaderNames(f.Readers) + "."
		}
		all = append(all, ErrRefused.New("%s %s", f.Rule.ID, strings.TrimSuffix(text, ".")).At("%s", f.where()).Fix("%s", f.WhatToDo()))
	}
	if len(all) == 1 {
		return all[0]
	}
	return errors.Join(all...)
}

// What says what was found, with the event and the path inside it.
func (f *Finding) What() string {
	if f.Path == "$" {
		return f.Event + ": " + f.Message
	}
	return f.Event + " " + f.Path + ": " + f.Message
}

// where is file:line:col, or, of what the catalog does not have, the event.
func (f *Finding) where() string {
	if at := f.Place().String(); at != "" {
		return at
	}
	return f.Topic + ": " + f.Event
}

// NamesReader reports whether the finding is about one reader, which its message names.
func (f *Finding) NamesReader() bool { return f.Rule == ReaderLeft || f.Rule == EventNeeded }

// ReaderNames joins readers for people: all of them, since each is somebody to talk to.
func ReaderNames(readers []Reader) string {
	var all []string
	for _, r := range readers {
		all = append(all, r.String())
	}
	return strings.Join(all, ", ")
}

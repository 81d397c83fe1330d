// Package fault is how Runnel reports what went wrong to a person: a stable
// code, a sentence, where, and what to do about it.
//
// A Code is declared once, next to the code that finds the fault, and never
// changes its ID. An Error is one occurrence. Errors that no person needs to
// act on stay plain Go errors.
//
// Start with Code, then Error.
package fault

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
)

// Class decides the process's exit code and how the daemon reacts.
type Class int

// The classes, with their exit codes.
const (
	Runtime     Class = 1 // failed at run time
	Input       Class = 2 // wrong input, or findings
	Environment Class = 3 // cannot connect, a missing grant or setting
)

// Code is a kind of fault. Declare each as a package variable in the package's
// faults.go, and list it in that package's Faults, which internal/faultlist checks.
//
// A *Code is itself an error so that errors.Is(err, ErrSlotBusy) works.
type Code struct {
	ID     string // stable, SCREAMING_SNAKE, e.g. "SLOT_BUSY"
	Class  Class
	Cause  string // one sentence, with a full stop: what this means in general
	Remedy string // sentences: what to do; commands in backquotes, copyable SQL in indented lines at the end
}

// Define declares a code.
func Define(id string, class Class, cause, remedy string) *Code {
	return &Code{ID: id, Class: class, Cause: cause, Remedy: remedy}
}

// Error makes a bare code usable as a target of errors.Is.
func (c *Code) Error() string { return c.ID + ": " + c.Cause }

// New returns an occurrence of c. The message says what happened with the
// values at hand; it never holds a secret.
func (c *Code) New(format string, args ...any) *Error {
	return &Error{Code: c, Message: fmt.Sprintf(format, args...)}
}

// Wrap returns an occurrence of c caused by err, which stays in the chain.
func (c *Code) Wrap(err error, format string, args ...any) *Error {
	return &Error{Code: c, Message: fmt.Sprintf(format, args...), Err: err}
}

// Error is one occurrence of a fault.
type Error struct {
	Code    *Code
	Message string
	Where   string // path:line:col, a position, a topic: where; may be empty
	Remedy  string // more exact than Code.Remedy; may be empty
	Err     error  // the cause; may be nil
}

// At says where it happened and returns e.
func (e *Error) At(format string, args ...any) *Error {
	e.Where = fmt.Sprintf(format, args...)
	return e
}

// Fix replaces the general remedy by a more exact one and returns e.
func (e *Error) Fix(format string, args ...any) *Error {
	e.Remedy = fmt.Sprintf(format, args...)
	return e
}

// Error returns `where: CODE message: cause`.
func (e *Error) Error() string {
	text := e.Code.ID + " " + e.Message
	if e.Where != "" {
		text = e.Where + ": " + text
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is e's code.
func (e *Error) Is(target error) bool {
	code, ok := target.(*Code)
	return ok && code == e.Code
}

// WhatToDo returns the most exact remedy known.
func (e *Error) WhatToDo() string {
	if e.Remedy != "" {
		return e.Remedy
	}
	return e.Code.Remedy
}

var place = regexp.MustCompile(`(?s)^(.*):(\d+):(\d+)$`)

// Place takes a Where of path:line:col apart. Of another, all is the path, and the line 0.
func (e *Error) Place() (path string, line, col int) {
	m := place.FindStringSubmatch(e.Where)
	if m == nil {
		return e.Where, 0, 0
	}
	line, _ = strconv.Atoi(m[2]) // digits
	col, _ = strconv.Atoi(m[3])
	return m[1], line, col
}

// Find returns the outermost Error in err's chain, or nil.
func Find(err error) *Error {
	if err == nil {
		return nil // without memory for e
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

package fault_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/runnel-cdc/runnel/internal/fault"
)

var errBusy = fault.Define("SLOT_BUSY", fault.Environment, "Another process streams from the slot.", "Stop the other.")

func ExampleCode_Wrap() {
	err := fmt.Errorf("run: %w", errBusy.Wrap(errors.New("55006"), "slot %s", "shop").At("db:5432").Fix("End process 7."))
	fmt.Println(err)
	fmt.Println(errors.Is(err, errBusy), fault.Find(err).WhatToDo())
	// Output:
	// run: db:5432: SLOT_BUSY slot shop: 55006
	// true End process 7.
}

func TestBareCode(t *testing.T) {
	other := fault.Define("SLOT_BUSY", fault.Runtime, "Another code with the same ID.", "")
	err := errBusy.New("slot %s", "shop")
	if errors.Is(err, other) || !errors.Is(errBusy, errBusy) || fault.Find(errBusy) != nil || fault.Find(nil) != nil {
		t.Error("a code is matched by itself, not by its ID, and is no occurrence")
	}
	if err.Error() != "SLOT_BUSY slot shop" || err.WhatToDo() != errBusy.Remedy || errBusy.Error() != "SLOT_BUSY: Another process streams from the slot." {
		t.Error(err, err.WhatToDo(), errBusy)
	}
}

func TestPlace(t *testing.T) {
	for where, want := range map[string]string{
		"a.avsc:3:14": "a.avsc 3 14", "a:b\n.avsc:3:14": "a:b\n.avsc 3 14", "a.avsc": "a.avsc 0 0", "db:5432": "db:5432 0 0", "": " 0 0",
	} {
		path, line, col := errBusy.New("").At("%s", where).Place()
		if got := fmt.Sprint(path, " ", line, " ", col); got != want {
			t.Errorf("%q: %q", where, got)
		}
	}
}

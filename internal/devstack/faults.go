package devstack

import "github.com/runnel-cdc/runnel/internal/fault"

// What can go wrong with the local servers.
var (
	ErrNotSetUp = fault.Define("STACK_NOT_SET_UP", fault.Environment,
		"a program or a distribution that the local servers need is not on this machine",
		"run ./setup")
	ErrStart = fault.Define("STACK_START", fault.Environment,
		"a local server did not start",
		"see the last lines of its log above; stop the stack, then start it again")
	ErrNotReady = fault.Define("STACK_NOT_READY", fault.Environment,
		"a local server started but was not ready in time",
		"see the last lines of its log above; a busy machine may need a longer --timeout")
	ErrPortTaken = fault.Define("STACK_PORT_TAKEN", fault.Environment,
		"a port that the stack's data belongs to is in use by another process",
		"end the process that listens there (ss -ltnp), or remove the stack's data and start anew")
	ErrBusy = fault.Define("STACK_BUSY", fault.Environment,
		"another process is starting or stopping the stack in this folder",
		"wait for it, or give another folder")
	ErrFolder = fault.Define("STACK_FOLDER", fault.Environment,
		"the stack's folder cannot be used",
		"give another folder, or remove this one")
	ErrGiven = fault.Define("STACK_GIVEN", fault.Input,
		"the given addresses do not fit together",
		"give both RUNNEL_PULSAR_URL and RUNNEL_PULSAR_ADMIN_URL, or neither")
	ErrNotOurs = fault.Define("STACK_NOT_OURS", fault.Input,
		"the server was given by its address, it is not this stack's to stop or start",
		"leave the address away, so that a server is started")
)

// Faults are all codes of this package.
var Faults = []*fault.Code{ErrNotSetUp, ErrStart, ErrNotReady, ErrPortTaken, ErrBusy, ErrFolder, ErrGiven, ErrNotOurs}

package devstack

import "github.com/runnel-cdc/runnel/internal/fault"

// What can go wrong with the local servers.
var (
	ErrNotSetUp = fault.Define("STACK_NOT_SET_UP", fault.Environment,
		"A program or a distribution that the local servers need is not on this machine.",
		"Run ./setup.")
	ErrStart = fault.Define("STACK_START", fault.Environment,
		"A local server did not start.",
		"See the last lines of its log above; stop the stack, then start it again.")
	ErrNotReady = fault.Define("STACK_NOT_READY", fault.Environment,
		"A local server started but was not ready in time.",
		"See the last lines of its log above; a busy machine may need a longer --timeout.")
	ErrPortTaken = fault.Define("STACK_PORT_TAKEN", fault.Environment,
		"A port that the stack's data belongs to is in use by another process.",
		"End the process that listens there (ss -ltnp), or remove the stack's data and start anew.")
	ErrBusy = fault.Define("STACK_BUSY", fault.Environment,
		"Another process is starting or stopping the stack in this folder.",
		"Wait for it, or give another folder.")
	ErrFolder = fault.Define("STACK_FOLDER", fault.Environment,
		"The stack's folder cannot be used.",
		"Give another folder, or remove this one.")
	ErrGiven = fault.Define("STACK_GIVEN", fault.Input,
		"The given addresses do not fit together.",
		"Give both RUNNEL_PULSAR_URL and RUNNEL_PULSAR_ADMIN_URL, or neither.")
	ErrNotOurs = fault.Define("STACK_NOT_OURS", fault.Input,
		"The server was given by its address, it is not this stack's to stop or start.",
		"Leave the address away, so that a server is started.")
)

// Faults are all codes of this package.
var Faults = []*fault.Code{ErrNotSetUp, ErrStart, ErrNotReady, ErrPortTaken, ErrBusy, ErrFolder, ErrGiven, ErrNotOurs}

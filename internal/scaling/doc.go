// Package scaling is a simulation of a design: one outbox that several slots share, as
// docs/scaling.md has it. Nothing of the product uses it.
//
//	log ──▶ slot of a member ──filter──▶ run ──session──▶ partition
//	 ▲          (confirmed)                │
//	 │                                     └──▶ database: where layouts begin, who is drained
//	 └── switch: slots of the next layout, then its control record
//
// A layout says which member owns which partition. It begins behind its control record, and
// ends with the next one's. Each layout has members, and slots, of its own. A run is one life
// of a member's process: it reads, becomes a partition's producer, sends, confirms, and may
// be killed, or cut off from slot or broker, between any two steps.
//
// Simulate takes one of all orders of these steps, as its caller picks them, and returns the
// first violation. A Mutant is the same protocol with one rule left out.
//
// It knows no server, no bytes, no time, one epoch, no event that can't be published. What that leaves
// out is in docs/scaling.md.
//
// Start with world.go (what is durable), then member.go (a run), check.go (what must hold)
// and mutants.go.
package scaling

// Package tail reads events from topics for people to look at: the last N, all
// from a position, and those to come. It leaves nothing behind in the topics.
//
//	partition ─ reader ┐
//	partition ─ reader ┼─ merge by position ─▶ filter ─▶ last N or all ─▶ print
//	partition ─ reader ┘        then, to follow: as they arrive
//
// Positions order events across partitions and topics as they were committed,
// so that is the order shown. What cannot be decoded is shown as such, never
// left out.
//
// Start with Run in run.go, then Decoder in decode.go.
package tail

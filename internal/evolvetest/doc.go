// Package evolvetest shows on real servers that changing schemas is routine: while old
// and new releases of services publish, and old and new readers in Go, Java and Python
// keep their copies, the catalog is planned and applied by the real binary, and no
// reader breaks.
//
//	old and new services ──▶ outbox ──▶ daemon ──▶ topic order ──┬──▶ readers built with the old schemas
//	                                                 ▲           └──▶ readers built with the new ones
//	          runnel schemas plan, apply ────────────┘
//
// The old release is the quickstart. The new one's catalog is in schemas, and generated
// from it package events: OrderPlaced has a field more, OrderShipped one less, and
// OrderReturned is new. There is nothing to import. Start with TestEvolveUnderLoad.
package evolvetest

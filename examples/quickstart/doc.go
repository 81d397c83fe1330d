// Package quickstart is an example of two services joined by events, written
// with Runnel's public packages only.
//
//	orders (its own database) ──outbox──▶ runnel ──topic order──▶ fulfilment (its own database)
//
// Its catalog is in schemas, and generated from it package events. Start with
// package orders, then fulfilment.
package quickstart

import "embed"

// Schemas is the catalog: *.avsc files in the folder schemas.
//
//go:embed schemas/*.avsc
var Schemas embed.FS

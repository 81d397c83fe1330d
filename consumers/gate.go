package consumers

import "github.com/runnel-cdc/runnel/internal/position"

// verdict is what the gate says about a message.
type verdict uint8

const (
	pass verdict = iota // the next event
	skip                // applied already
	gap                 // events before it are missing
	torn                // not of the history that the position is of
)

// gate compares a message's stamp with the stored one (zero: none).
//
// In one partition, positions and ordinals rise together and ordinals are
// dense. So what is not above the stored position must not be above the stored
// ordinal either, and what is above it must carry the next ordinal.
func gate(stored, next position.Stamp) verdict {
	switch order := next.Compare(stored.Position); {
	case next.Ordinal == 0 || next.IsZero():
		return torn // no publisher writes it
	case order > 0 && next.Ordinal == stored.Ordinal+1:
		return pass
	case order > 0 && next.Ordinal > stored.Ordinal:
		return gap
	case order == 0 && next.Ordinal == stored.Ordinal,
		order < 0 && next.Ordinal < stored.Ordinal:
		return skip
	}
	return torn
}

// gate is the gate of the worker's partition, which lets pass what was accepted.
func (w *worker) gate(stored, next position.Stamp) verdict {
	v := gate(stored, next)
	if v == gap && next == w.accepted {
		return pass
	}
	return v
}

package capture

import (
	"sync"
	"sync/atomic"

	"github.com/runnel-cdc/runnel/internal/failpoint"
	"github.com/runnel-cdc/runnel/router"
)

// lease is memory that its holders share: who fills it, and the batches that alias it.
// When the last one has let it go it is used again, for something else.
//
// Invariant: what a batch aliases is never written while that holds its lease. A holder
// that never releases leaves the memory to the collector: that costs time, and no more.
type lease[T any] struct {
	memory []T
	refs   atomic.Int32
	pool   *pool[T] // nil: it is not used again
}

func (l *lease[T]) hold() { l.refs.Add(1) }

// alone reports whether the caller is the only holder left.
func (l *lease[T]) alone() bool { return l.refs.Load() == 1 }

func (l *lease[T]) release() {
	if l.refs.Add(-1) == 0 && l.pool != nil {
		l.pool.clean(l.memory)
		l.pool.free.Put(l)
	}
}

// pool keeps memory of one size that is not in use.
type pool[T any] struct {
	size  int
	clean func([]T) // makes what was released ready for its next holder
	free  sync.Pool
}

// get returns memory that the caller holds.
func (p *pool[T]) get() *lease[T] {
	l, ok := p.free.Get().(*lease[T])
	if !ok {
		l = &lease[T]{memory: make([]T, p.size), pool: p}
	}
	l.refs.Store(1)
	return l
}

// chunks are receive memory, slabs what batches are cut from.
var (
	chunks = &pool[byte]{size: chunkSize, clean: spoil}
	slabs  = &pool[router.Input]{size: maxInputs, clean: func(all []router.Input) { clear(all) }}
)

// spoil shows who still reads what he has released, in binaries that look for faults.
func spoil(memory []byte) {
	if !failpoint.Enabled && !spoils {
		return
	}
	for i := range memory {
		memory[i] = 0xdb
	}
}

// spoils is set by tests.
var spoils bool

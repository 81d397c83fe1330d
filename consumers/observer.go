package consumers

import "time"

// Keys of log attributes.
const (
	keyProjection = "projection"
	keyTopic      = "topic"
	keyVersion    = "version"
	keyPartition  = "partition"
	keyPosition   = "position"
	keyEventID    = "event_id"
	keyEventType  = "event_type"
	keyCode       = "code"
	keyRemedy     = "remedy"
	keyError      = "error"
	keyTries      = "tries"
	keyPause      = "pause"
	keyNextTry    = "next_try"
	keyCount      = "count"
	keyKey        = "key"
	keyStack      = "stack"
)

// Observer is told what a projection does, after it was committed. Fields may
// be nil. Calls come from several goroutines, one per partition, and must not
// block.
type Observer struct {
	// Applied: a handler's rows and the position are durable.
	Applied func(Applied)
	// Skipped: the event was applied before.
	Skipped func(Message)
	// UnknownType: no handler takes the event's type; the position moved on.
	UnknownType func(Message)
	// Discarded: the handler answered with Discard; the position moved on.
	Discarded func(Message, error)
	// Failed: a try failed, for the given number of times; the next one comes
	// after the pause, during which the event's key waits.
	Failed func(m Message, tries int, pause time.Duration, err error)
	// Parked: the event failed for as long as it was tried and waits for a person,
	// beside the copy; the position moved on. The error is the last one.
	Parked func(Message, error)
	// Behind: an earlier event of the same key failed and was put aside, and so was
	// this one, behind it; the position moved on.
	Behind func(Message)
	// Stopped: the projection stops for good, because of a gap for example.
	Stopped func(topic string, partition int, err error)
}

// Applied describes an event that was applied.
type Applied struct {
	Message Message
	At      time.Time // when its transaction had been committed
}

// SinceOccurred returns the seconds' worth from the event's occurred-at, which
// the writer's clock took before its commit, to the local commit.
func (a Applied) SinceOccurred() time.Duration { return a.At.Sub(a.Message.OccurredAt) }

// SincePublished returns the time from the broker's receipt to the local
// commit. Clocks of several machines are involved.
func (a Applied) SincePublished() time.Duration { return a.At.Sub(a.Message.PublishedAt) }

func (o Observer) applied(m Message, at time.Time) {
	if o.Applied != nil {
		o.Applied(Applied{m, at})
	}
}

func (o Observer) skipped(m Message) {
	if o.Skipped != nil {
		o.Skipped(m)
	}
}

func (o Observer) unknownType(m Message) {
	if o.UnknownType != nil {
		o.UnknownType(m)
	}
}

func (o Observer) discarded(m Message, err error) {
	if o.Discarded != nil {
		o.Discarded(m, err)
	}
}

func (o Observer) failed(m Message, tries int, pause time.Duration, err error) {
	if o.Failed != nil {
		o.Failed(m, tries, pause, err)
	}
}

func (o Observer) parked(m Message, err error) {
	if o.Parked != nil {
		o.Parked(m, err)
	}
}

func (o Observer) behind(m Message) {
	if o.Behind != nil {
		o.Behind(m)
	}
}

func (o Observer) stopped(topic string, partition int, err error) {
	if o.Stopped != nil {
		o.Stopped(topic, partition, err)
	}
}

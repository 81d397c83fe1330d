package router

// target is where the events of one type go.
type target struct {
	topic     int
	eventType string
}

// target finds the topic of an event. Only types that the topic's codec knows
// are remembered, so the memory is bounded by the catalog.
func (s *State) target(e *Event) (*target, error) {
	if t := s.targets[string(e.AggregateType)][string(e.Type)]; t != nil {
		return t, nil
	}
	aggregate, eventType := string(e.AggregateType), string(e.Type)
	m := s.routes.Explain(aggregate, eventType)
	topic, ok := s.byName[m.Topic]
	if err := s.gone[m.Topic]; !ok && err != nil {
		return nil, err
	}
	if !ok {
		return nil, poison(ErrUnknownEvent.New("event %s of type %q and aggregate type %q: no event of the catalog goes to topic %q",
			uuid(e.ID), eventType, aggregate, m.Topic), e)
	}
	t := &target{topic: topic, eventType: eventType}
	if len(s.targets) < maxTargets {
		byType := s.targets[aggregate]
		if byType == nil {
			byType = make(map[string]*target)
			s.targets[aggregate] = byType
		}
		if len(byType) < maxTargets {
			byType[eventType] = t
		}
	}
	return t, nil
}

// maxTargets bounds the memory of event types; more are looked up each time.
const maxTargets = 10_000

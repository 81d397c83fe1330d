package router

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"strings"
)

// RouteRule sends the events that match both globs to a topic. An empty glob
// matches everything. Globs are those of path.Match: * ? [a-z].
type RouteRule struct {
	Aggregate string // glob on the aggregate type
	Type      string // glob on the event type
	Topic     string // local name of the topic, in the pipeline's namespace
}

// Routes maps events to topics: the first matching rule wins; without a match
// the topic is the aggregate type. It is immutable and safe for concurrent use.
//
// The key is always the aggregate id, so the events of one aggregate and topic
// stay in one partition. Rules that send the events of one aggregate type to
// several topics give up their mutual order, and nothing else does.
type Routes struct {
	rules []RouteRule
}

// Match says where an event goes and why.
type Match struct {
	Topic string // local name
	Rule  int    // index of the rule that matched; -1: the default
}

// NewRoutes checks the rules. Errors are ErrRoute, with the rule's number.
func NewRoutes(rules []RouteRule) (*Routes, error) {
	for i, r := range rules {
		for _, glob := range []string{r.Aggregate, r.Type} {
			if _, err := path.Match(glob, ""); err != nil {
				return nil, ErrRoute.New("bad glob %q", glob).At("routes[%d]", i)
			}
		}
		if err := CheckTopicName(r.Topic); err != nil {
			return nil, ErrRoute.Wrap(err, "topic %q", r.Topic).At("routes[%d]", i)
		}
	}
	return &Routes{rules: append([]RouteRule(nil), rules...)}, nil
}

// Explain returns the topic of an event and the rule that chose it.
func (r *Routes) Explain(aggregateType, eventType string) Match {
	for i, rule := range r.rules {
		if globs(rule.Aggregate, aggregateType) && globs(rule.Type, eventType) {
			return Match{Topic: rule.Topic, Rule: i}
		}
	}
	return Match{Topic: aggregateType, Rule: -1}
}

// Topics returns the topics that the rules name.
func (r *Routes) Topics() []string {
	all := make([]string, 0, len(r.rules))
	for _, rule := range r.rules {
		all = append(all, rule.Topic)
	}
	return all
}

// Rule returns the rule with that index.
func (r *Routes) Rule(i int) RouteRule { return r.rules[i] }

// Hash names the rules, in order. Under other rules a replay would lose or
// double events, so a change must not happen while anything is unconfirmed.
func (r *Routes) Hash() string {
	var text strings.Builder
	for _, rule := range r.rules {
		fmt.Fprintf(&text, "%q %q %q\n", rule.Aggregate, rule.Type, rule.Topic)
	}
	sum := sha256.Sum256([]byte(text.String()))
	return hex.EncodeToString(sum[:16])
}

// CheckTopicName reports why a local topic name can't be used. Pulsar gives a
// meaning to /, and to the suffix -partition-N.
func CheckTopicName(name string) error {
	if name == "" {
		return fmt.Errorf("the name is empty")
	}
	if len(name) > 200 {
		return fmt.Errorf("the name is longer than 200 bytes")
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '.', c == ':', c == '=':
		default:
			return fmt.Errorf("the character %q is not one of a-z A-Z 0-9 _ - . : =", c)
		}
	}
	if ok, _ := path.Match("*-partition-[0-9]*", name); ok {
		return fmt.Errorf("names ending in -partition-N are Pulsar's own")
	}
	return nil
}

func globs(glob, text string) bool {
	if glob == "" || glob == "*" {
		return true
	}
	ok, _ := path.Match(glob, text)
	return ok
}

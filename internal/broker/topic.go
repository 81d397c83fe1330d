package broker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// topicPath turns persistent://tenant/namespace/local into the admin
// interface's path.
func topicPath(topic string) (string, error) {
	rest, ok := strings.CutPrefix(topic, "persistent://")
	parts := strings.SplitN(rest, "/", 3)
	if !ok || len(parts) != 3 || !validName(parts[0]) || !validName(parts[1]) || strings.Trim(parts[2], ".") == "" {
		return "", ErrConfig.New("%.200q is not a topic of the form persistent://tenant/namespace/name", topic)
	}
	return "/persistent/" + parts[0] + "/" + parts[1] + "/" + url.PathEscape(parts[2]), nil
}

// splitTopic returns tenant/namespace and the local name.
func splitTopic(topic string) (namespace, local string) {
	rest := strings.TrimPrefix(topic, "persistent://")
	i := strings.LastIndexByte(rest, '/')
	if i < 0 {
		return "", rest
	}
	return rest[:i], rest[i+1:]
}

// validName reports whether Pulsar accepts the name of a tenant or namespace.
func validName(name string) bool {
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-=:._", c) >= 0:
		default:
			return false
		}
	}
	return strings.Trim(name, ".") != "" // "." and ".." would walk the path
}

// Partitions implements Client.
func (p *Pulsar) Partitions(ctx context.Context, topic string) (int, error) {
	path, err := topicPath(topic)
	if err != nil {
		return 0, err
	}
	var answer struct {
		Partitions int  `json:"partitions"`
		Deleted    bool `json:"deleted"`
	}
	_, err = p.rest.call(ctx, http.MethodGet, path+"/partitions", nil, &answer)
	if status(err) == http.StatusNotFound || (err == nil && answer.Deleted) {
		return 0, ErrTopicMissing.New("%s does not exist", topic)
	}
	if err != nil {
		return 0, err
	}
	return answer.Partitions, nil
}

// checkPartition reports whether the partition exists, and never creates it.
func (p *Pulsar) checkPartition(ctx context.Context, q Partition) error {
	n, err := p.Partitions(ctx, q.Topic)
	switch {
	case err != nil:
		return err
	case n == 0:
		return ErrTopicMissing.New("%s exists, but is not partitioned", q.Topic).
			Fix("Delete the topic, or use another name: Runnel's topics are partitioned from the start.")
	case q.Index < 0 || q.Index >= n:
		return ErrTopicMissing.New("%s has %d partitions, so there is no partition %d", q.Topic, n, q.Index)
	}
	return nil
}

// EnsureTopic implements Admin.
func (p *Pulsar) EnsureTopic(ctx context.Context, topic string, partitions int, r *Retention) (bool, error) {
	path, err := topicPath(topic)
	if err != nil {
		return false, err
	}
	if partitions < 1 {
		return false, ErrConfig.New("%s: a topic needs at least one partition, not %d", topic, partitions)
	}
	created := false
	_, err = p.rest.call(ctx, http.MethodPut, path+"/partitions", partitions, nil)
	switch status(err) {
	case http.StatusConflict:
		have, err := p.Partitions(ctx, topic)
		if err != nil {
			return false, err
		}
		if have != partitions {
			return false, ErrPartitionCount.New("%s has %d partitions, not %d", topic, have, partitions)
		}
	case http.StatusNotFound:
		return false, ErrAdmin.Wrap(err, "creating %s: its namespace does not exist", topic).Fix("Run `runnel schemas plan`, then `runnel schemas apply`.")
	default:
		if err != nil {
			return false, err
		}
		created = true
	}
	if r == nil {
		return created, nil
	}
	have, err := p.ownRetention(ctx, path)
	if err == nil && (have == nil || *have != r.wire()) {
		_, err = p.rest.call(ctx, http.MethodPost, path+"/retention", r.wire(), nil)
	}
	return created, err
}

// KeepsForever reports whether a topic has a retention of its own, which is unlimited.
func (p *Pulsar) KeepsForever(ctx context.Context, topic string) (bool, error) {
	path, err := topicPath(topic)
	if err != nil {
		return false, err
	}
	have, err := p.ownRetention(ctx, path)
	return have != nil && *have == Retention{}.wire(), err
}

// ownRetention is nil where the namespace's holds.
func (p *Pulsar) ownRetention(ctx context.Context, path string) (have *retentionPolicy, err error) {
	_, err = p.rest.call(ctx, http.MethodGet, path+"/retention", nil, &have)
	return have, err
}

// DeleteSubscription implements Client. Each partition is asked by itself: of the
// topic as a whole Pulsar answers for one of them that the subscription is not found,
// and hides by it what it says of another.
func (p *Pulsar) DeleteSubscription(ctx context.Context, topic, subscription string) error {
	n, err := p.Partitions(ctx, topic)
	if err != nil {
		if errors.Is(err, ErrTopicMissing) {
			return nil
		}
		return err
	}
	for i := range n {
		path, err := topicPath(Partition{topic, i}.String())
		if err != nil {
			return err
		}
		_, err = p.rest.call(ctx, http.MethodDelete, path+"/subscription/"+url.PathEscape(subscription), nil, nil)
		switch {
		case status(err) == http.StatusPreconditionFailed:
			return ErrAdmin.Wrap(err, "deleting the subscription %s of %s, which has consumers", subscription, Partition{topic, i})
		case err != nil && status(err) != http.StatusNotFound:
			return err
		}
	}
	return nil
}

// CheckTopic implements Admin.
func (p *Pulsar) CheckTopic(ctx context.Context, topic string) (TopicState, error) {
	n, err := p.Partitions(ctx, topic)
	if err != nil {
		return TopicState{}, err
	}
	state := TopicState{Topic: topic, Partitions: n}
	if state.MaxMessageSize, err = p.MaxMessageSize(ctx, topic); err != nil {
		return TopicState{}, err
	}
	path, err := topicPath(topic)
	if err != nil {
		return TopicState{}, err
	}
	_, err = p.rest.call(ctx, http.MethodGet, path+"/deduplicationEnabled?applied=true", nil, &state.Deduplication)
	if errors.Is(err, ErrForbidden) && n > 0 { // policies are the tenant's administrator's; statistics are not
		var stats partitionStats
		stats, err = p.stats(ctx, Partition{Topic: topic})
		state.Deduplication = stats.Deduplication == "Enabled"
	}
	return state, err
}

// MaxMessageSize implements Client. The topic's policy counts a whole batch
// with its metadata.
func (p *Pulsar) MaxMessageSize(ctx context.Context, topic string) (int, error) {
	path, err := topicPath(topic)
	if err != nil {
		return 0, err
	}
	namespace, _ := splitTopic(topic)
	if p.events.instead(namespace) {
		return p.loggedMaxMessageSize(ctx, topic)
	}
	size := 0
	set, err := p.rest.call(ctx, http.MethodGet, path+"/maxMessageSize?applied=true", nil, &size)
	switch {
	case err == nil && set && size > 0:
		return min(size, p.maxMessageSize), nil
	case status(err) == http.StatusMethodNotAllowed, status(err) == http.StatusPreconditionFailed:
		return p.maxMessageSize, nil // topic level policies are off
	case status(err) == http.StatusNotFound:
		return 0, ErrTopicMissing.New("%s does not exist", topic)
	case errors.Is(err, ErrForbidden):
		size, err := p.loggedMaxMessageSize(ctx, topic)
		if err == nil {
			p.events.useInstead(namespace)
		}
		return size, err
	}
	return p.maxMessageSize, err
}

// publisher is a producer in a topic's statistics.
type publisher struct {
	Name    string `json:"producerName"`
	Address string `json:"address"`
	Since   string `json:"connectedSince"`
}

func (q publisher) String() string {
	return fmt.Sprintf("%s at %s since %s", clip(q.Name), strings.TrimPrefix(q.Address, "/"), q.Since)
}

// partitionStats is the part of a partition's statistics that is used.
type partitionStats struct {
	Publishers    []publisher `json:"publishers"`
	Deduplication string      `json:"deduplicationStatus"`
}

func (p *Pulsar) stats(ctx context.Context, q Partition) (partitionStats, error) {
	var s partitionStats
	path, err := topicPath(q.String())
	if err == nil {
		_, err = p.rest.call(ctx, http.MethodGet, path+"/stats?getPreciseBacklog=false&subscriptionBacklogSize=false&excludeConsumers=true", nil, &s)
	}
	if status(err) == http.StatusNotFound {
		err = ErrTopicMissing.Wrap(err, "%s", q)
	}
	return s, err
}

// entryID is one entry (a batch of messages) of a partition; Entry is -1 when
// the ledger is empty.
type entryID struct{ Ledger, Entry int64 }

func (e entryID) String() string { return fmt.Sprintf("%d:%d", e.Ledger, e.Entry) }

// ledgerStats is where a partition's entries lie (internalStats).
type ledgerStats struct {
	Pending       int64        `json:"pendingAddEntriesCount"`
	Added         int64        `json:"entriesAddedCounter"`
	LastConfirmed string       `json:"lastConfirmedEntry"`
	CurrentCount  int64        `json:"currentLedgerEntries"`
	State         string       `json:"state"`
	Ledgers       []ledgerInfo `json:"ledgers"`

	last entryID // LastConfirmed, parsed
}

type ledgerInfo struct {
	ID       int64  `json:"ledgerId"`
	Entries  int64  `json:"entries"`  // 0 while the ledger is open: see ledgerStats.CurrentCount
	Metadata string `json:"metadata"` // of BookKeeper, where it was asked for
}

func (p *Pulsar) internalStats(ctx context.Context, q Partition) (ledgerStats, error) {
	return p.ledgers(ctx, q, false)
}

// ledgers returns where a partition's entries lie, with or without what BookKeeper's
// metadata say of each ledger.
func (p *Pulsar) ledgers(ctx context.Context, q Partition, metadata bool) (ledgerStats, error) {
	var s ledgerStats
	path, err := topicPath(q.String())
	if err == nil {
		_, err = p.rest.call(ctx, http.MethodGet, path+"/internalStats?metadata="+strconv.FormatBool(metadata), nil, &s)
	}
	if status(err) == http.StatusNotFound {
		err = ErrTopicMissing.Wrap(err, "%s", q)
	}
	if err != nil {
		return s, err
	}
	return s, s.finish()
}

// finish checks and completes what was decoded.
func (s *ledgerStats) finish() error {
	ledger, entry, ok := strings.Cut(s.LastConfirmed, ":")
	var err1, err2 error
	s.last.Ledger, err1 = strconv.ParseInt(ledger, 10, 64)
	s.last.Entry, err2 = strconv.ParseInt(entry, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return ErrWrongServer.New("internalStats names %q as the last entry", clip(s.LastConfirmed))
	}
	for i := range s.Ledgers {
		if i > 0 && s.Ledgers[i].ID <= s.Ledgers[i-1].ID {
			return ErrWrongServer.New("internalStats lists ledger %d after %d", s.Ledgers[i].ID, s.Ledgers[i-1].ID)
		}
		if s.Ledgers[i].Entries < 0 {
			return ErrWrongServer.New("internalStats lists %d entries in ledger %d", s.Ledgers[i].Entries, s.Ledgers[i].ID)
		}
	}
	if n := len(s.Ledgers); n > 0 && s.Ledgers[n-1].Entries == 0 {
		s.Ledgers[n-1].Entries = max(s.CurrentCount, 0)
	}
	return nil
}

// tail returns the last entry, false when the partition is empty or trimmed.
func (s *ledgerStats) tail() (entryID, bool) {
	for i := len(s.Ledgers) - 1; i >= 0; i-- {
		if l := s.Ledgers[i]; l.Entries > 0 {
			return entryID{l.ID, l.Entries - 1}, true
		}
	}
	return entryID{}, false
}

// back returns the entry n entries before e, or the first one that is kept;
// oldest reports that it is that one.
func (s *ledgerStats) back(e entryID, n int64) (at entryID, oldest bool) {
	i := len(s.Ledgers) - 1
	for ; i >= 0; i-- {
		l := s.Ledgers[i]
		if l.ID > e.Ledger || l.Entries == 0 {
			continue
		}
		last := l.Entries - 1
		if l.ID == e.Ledger {
			last = e.Entry
		}
		at = entryID{l.ID, max(last-n, 0)}
		if last >= n {
			break
		}
		n -= last + 1
	}
	for _, l := range s.Ledgers {
		if l.Entries > 0 {
			return at, at == entryID{l.ID, 0}
		}
	}
	return e, true
}

// follows reports whether next is the entry right after e (with !any: the
// first entry of all): the next number, or entry 0 of the next ledger that
// holds anything.
func (s *ledgerStats) follows(e entryID, any bool, next entryID) bool {
	if any && next.Ledger == e.Ledger {
		return next.Entry == e.Entry+1
	}
	if next.Entry != 0 || (any && next.Ledger < e.Ledger) {
		return false
	}
	for _, l := range s.Ledgers {
		switch {
		case any && l.ID < e.Ledger, l.ID >= next.Ledger:
		case any && l.ID == e.Ledger:
			if l.Entries > e.Entry+1 {
				return false
			}
		case l.Entries > 0:
			return false
		}
	}
	return true
}

package capture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/position"
)

// Era is a stretch of the history that leads to the server's: its WAL from Begin on,
// until the next era's. A promotion, or a recovery to a point in time, begins one.
type Era struct {
	// Epoch numbers it; 0 while it is not recorded. LSNs of different epochs say nothing
	// about each other: what one history lost, the next one writes at the same LSNs.
	Epoch    uint32
	SystemID string
	Timeline int32
	Begin    uint64 // LSN at which it begins
	// Before is where the era before it ends, in that one's LSNs: Begin, where this one
	// forked from it, on the same system.
	Before uint64
}

// lineage are the eras that lead to the server's, in order. It is never empty.
type lineage []Era

// at returns the epoch of an LSN: an event's is that of the timeline that contains its
// commit, so that what is replayed after a failover has the position it had before.
func (l lineage) at(lsn uint64) uint32 {
	epoch := l.newest().Epoch
	for _, e := range slices.Backward(l) {
		if e.SystemID != l.newest().SystemID {
			break // its LSNs say nothing here
		}
		if epoch = e.Epoch; lsn >= e.Begin {
			break
		}
	}
	return epoch
}

// recorded returns the newest epoch that has a number.
func (l lineage) recorded() (epoch uint32) {
	for _, e := range l {
		epoch = max(epoch, e.Epoch)
	}
	return epoch
}

// newest returns the era that the server writes.
func (l lineage) newest() Era { return l[len(l)-1] }

// readLineage reads what is recorded of the database's history, and what the server
// says of its own: eras that are not recorded yet come last, without a number. It is
// nil when nothing is recorded.
func (s *Source) readLineage(ctx context.Context) (lineage, error) {
	rows, err := s.sql.Query(ctx, `select e.epoch, e.system_id, e.timeline, e.begin_lsn::text,
			coalesce((p.former_ends ->> e.epoch::text)::pg_lsn, e.before_lsn, e.begin_lsn)::text
		from runnel.epoch e left join runnel.pipeline p on p.name = $1 order by e.epoch`, s.cfg.Pipeline)
	if err != nil {
		return nil, queryFault(err, "read the recorded history")
	}
	var l lineage
	var n int32
	var begin, before string
	var e Era
	_, err = pgx.ForEachRow(rows, []any{&n, &e.SystemID, &e.Timeline, &begin, &before}, func() (err error) {
		e.Epoch = uint32(n)
		if e.Begin, err = parseLSN(begin); err != nil {
			return err
		}
		if e.Before, err = parseLSN(before); err != nil {
			return err
		}
		l = append(l, e)
		return nil
	})
	if err != nil {
		return nil, queryFault(err, "read the recorded history")
	}
	if len(l) == 0 {
		return nil, nil
	}
	return s.extend(ctx, l)
}

// extend adds the eras since the last recorded one.
func (s *Source) extend(ctx context.Context, l lineage) (lineage, error) {
	last := l.newest()
	recorded := fmt.Sprintf("recorded: system %s, timeline %d; the server: system %s, timeline %d", last.SystemID, last.Timeline, s.systemID, s.timeline)
	switch {
	case last.SystemID != s.systemID && (s.cfg.Repair || s.rec == nil || s.rec.systemID == s.systemID):
		// Where the era before it ends is not known: see Source.EndFormer. To a pipeline
		// that began on this server it does not matter.
		return append(l, Era{SystemID: s.systemID, Timeline: s.timeline}), nil
	case last.SystemID != s.systemID:
		return nil, errOtherServer(recorded)
	case last.Timeline == s.timeline:
		return l, nil
	}
	file, err := pglogrepl.TimelineHistory(ctx, s.repl, s.timeline)
	if err != nil {
		return nil, ErrEpochChanged.Wrap(err, "%s, whose history cannot be read", recorded)
	}
	parents, err := parseTimelineHistory(file.Content)
	if err != nil {
		return nil, ErrEpochChanged.Wrap(err, "%s, whose history cannot be read", recorded)
	}
	from := slices.IndexFunc(parents, func(p parent) bool { return p.timeline == last.Timeline })
	if from < 0 {
		return nil, ErrEpochChanged.New("%s, which does not descend from it: this is an older state of the database, or another one", recorded)
	}
	for i, p := range parents[from:] {
		next := s.timeline
		if from+i+1 < len(parents) {
			next = parents[from+i+1].timeline
		}
		l = append(l, Era{SystemID: s.systemID, Timeline: next, Begin: p.end, Before: p.end})
	}
	return l, nil
}

// parent is a timeline that another one forked from, at end.
type parent struct {
	timeline int32
	end      uint64
}

// maxTimelines bounds a history file: it has a line for each promotion there ever was.
const maxTimelines = 100_000

// parseTimelineHistory reads a timeline's history file: lines of the number of a
// timeline, the LSN at which the next one forked from it, and the reason, oldest first
// (readTimeLineHistory in Postgres' timeline.c).
func parseTimelineHistory(content []byte) ([]parent, error) {
	var all []parent
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 2 || len(all) == maxTimelines {
			return nil, fmt.Errorf("the line %.100q of a timeline's history", line)
		}
		timeline, err := strconv.ParseInt(fields[0], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("the timeline %.20q: %w", fields[0], err)
		}
		end, err := parseLSN(fields[1])
		if err != nil {
			return nil, err
		}
		if n := len(all); timeline <= 0 || n > 0 && (int32(timeline) <= all[n-1].timeline || end < all[n-1].end) {
			return nil, fmt.Errorf("timeline %d at %s is out of order", timeline, fields[1])
		}
		all = append(all, parent{int32(timeline), end})
	}
	return all, nil
}

// Eras returns the eras that lead to the server's, in order.
func (s *Source) Eras() []Era { return slices.Clone(s.eras) }

// Unsettled returns the last of Eras: those that began since this pipeline last
// published, of which it is not known whether something was published before that they
// do not hold. Until Settle, Run refuses to begin.
func (s *Source) Unsettled() []Era {
	for i, e := range s.eras {
		if e.Epoch == 0 || s.rec != nil && e.Epoch > s.rec.settled {
			return slices.Clone(s.eras[i:])
		}
	}
	return nil
}

// Settle records that this pipeline may publish events of all Eras. Those that have no
// number yet get one above greatest, which is the greatest epoch in any topic of any
// pipeline of the database. It is the caller's to know that the topics hold nothing that
// the eras before them have lost. tails are the partitions' tails: what was saved of them may
// not have come to a standby that has taken over, while the slot has. Those of partitions
// that are not recorded are passed over.
func (s *Source) Settle(ctx context.Context, greatest uint32, tails []PartitionTail) error {
	s.sqlMu.Lock()
	defer s.sqlMu.Unlock()
	eras := lineage(slices.Clone(s.eras))
	err := pgx.BeginFunc(ctx, s.sql, func(tx pgx.Tx) error {
		// What is published under a number must not be numbered anew.
		if _, err := tx.Exec(ctx, `set local synchronous_commit = on; lock table runnel.epoch in share row exclusive mode`); err != nil {
			return err
		}
		var recorded int32
		if err := tx.QueryRow(ctx, `select coalesce(max(epoch), 0) from runnel.epoch`).Scan(&recorded); err != nil {
			return err
		}
		if eras.recorded() != uint32(recorded) {
			return errRecorded
		}
		next := max(uint32(recorded), greatest) + 1
		ends := make(map[string]string)
		for i := range eras {
			e := &eras[i]
			if e.Epoch == 0 {
				if _, err := tx.Exec(ctx, `insert into runnel.epoch (epoch, system_id, timeline, begin_lsn) values ($1, $2, $3, $4::text::pg_lsn)`,
					int32(next), e.SystemID, e.Timeline, pglogrepl.LSN(e.Begin).String()); err != nil {
					return err
				}
				e.Epoch, next = next, next+1
			}
			if e.Before != e.Begin {
				ends[strconv.FormatUint(uint64(e.Epoch), 10)] = pglogrepl.LSN(e.Before).String()
			}
		}
		// The limit is of the former era: the slot may have come further there.
		done, err := tx.Exec(ctx, `update runnel.pipeline set settled_epoch = $2, slot_limit = nullif($3, '0/0')::pg_lsn, former_ends = $4
			where name = $1 and ($5 < 0 or settled_epoch = $5)`,
			s.cfg.Pipeline, int32(eras.newest().Epoch), pglogrepl.LSN(s.flushed).String(), ends, s.recordedSettled())
		if err == nil && s.rec != nil && done.RowsAffected() == 0 {
			err = errRecorded
		}
		if err != nil {
			return err
		}
		batch := &pgx.Batch{}
		for _, t := range tails { // a topic's partitions are recorded as a whole, or not at all
			batch.Queue(`update runnel.progress_partition set position = $4, ordinal = $5
				where pipeline = $1 and topic = $2 and partition = $3 and position collate "C" < $4 collate "C"`,
				s.cfg.Pipeline, t.Topic, t.Partition, t.Last.Position.String(), int64(t.Last.Ordinal))
		}
		return tx.SendBatch(ctx, batch).Close()
	})
	if err != nil {
		return queryFault(err, "record the history")
	}
	s.eras = eras
	if s.rec != nil {
		s.rec.settled, s.rec.limit, s.limit = eras.newest().Epoch, s.flushed, s.flushed
		s.rec.settledBefore = s.rec.settled
	}
	return nil
}

// Unsettle takes back that anything but the eras up to an epoch is settled, for as long as
// the source is open.
func (s *Source) Unsettle(epoch uint32) {
	if s.rec != nil {
		s.rec.settled = epoch
	}
}

// RecordUnsettled takes it back for every source that is opened from now on. It may be
// called while Run does.
func (s *Source) RecordUnsettled(ctx context.Context, epoch uint32) error {
	conn, err := s.cfg.connectSQL(ctx, "history") // Run may hold the other one for long
	if err != nil {
		return err
	}
	defer closeSQL(conn)
	if _, err := conn.Exec(ctx, `update runnel.pipeline set settled_epoch = $2 where name = $1`, s.cfg.Pipeline, int32(epoch)); err != nil {
		return queryFault(err, "record the history")
	}
	return nil
}

// errOtherServer says that the database is on another server than it was.
func errOtherServer(what string) error {
	return ErrEpochChanged.New("%s: the database was loaded from a dump, cloned by rows, or upgraded by pg_upgrade", what)
}

// Moved reports whether the database is on another server than when this pipeline last
// published. Only a source opened with Config.Repair is then.
func (s *Source) Moved() bool { return s.rec != nil && s.rec.systemID != s.systemID }

// Former returns the position, in the history of the server on which the pipeline last
// published, below which nothing is that this database may lack. It is for a database that
// has Moved.
func (s *Source) Former(ctx context.Context) (position.Position, error) {
	saved, err := readSample(ctx, s.sql, s.cfg.Pipeline)
	if err != nil {
		return position.Position{}, err
	}
	lsn, err := parseLSN(saved.since)
	if err != nil || lsn == 0 {
		return position.Position{}, err
	}
	former := s.former()
	return position.Position{Epoch: former.at(lsn), LSN: recordStart(lsn)}, nil
}

// former are the eras up to the last one of the server on which the pipeline last published.
func (s *Source) former() lineage {
	l := s.eras
	for len(l) > 1 && l.newest().SystemID != s.rec.systemID {
		l = l[:len(l)-1]
	}
	return l
}

// EndFormer says where the history ends of the server on which the pipeline last
// published: at the first event that this database lacks.
func (s *Source) EndFormer(before uint64) {
	if i := len(s.former()); i < len(s.eras) && (s.eras[i].Epoch == 0 || s.eras[i].Epoch > s.rec.settled) {
		s.eras[i].Before = before
	}
}

// recordedSettled is the settled epoch as it was read; -1 without a record.
func (s *Source) recordedSettled() int32 {
	if s.rec == nil {
		return -1
	}
	return int32(s.rec.settledBefore)
}

// errRecorded is no fault: another daemon, or another pipeline of the database, was faster.
var errRecorded = errors.New("the server's history was recorded meanwhile: start over")

// querier is a connection or a transaction.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

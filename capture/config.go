package capture

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/pgfault"
)

// Config says which database to capture and how. URL is required; everything
// else has a default.
type Config struct {
	// URL of the source database. Passwords are never logged nor put in errors.
	URL string
	// Pipeline names what this capture belongs to. Default: the database's name.
	Pipeline string
	// Slot is the replication slot. Default: SlotName(Pipeline).
	Slot string
	// Publication that `runnel init` made. Default: runnel.
	Publication string
	// StatusInterval is how often Postgres is told what is confirmed. Default:
	// 1 s; at most a third of the server's wal_sender_timeout is used.
	StatusInterval time.Duration
	// ReceiveTimeout ends the run when the server, asked at half of it, sent
	// nothing for so long. Default: 30 s.
	ReceiveTimeout time.Duration
	// ConnectTimeout bounds each attempt to connect, unless URL sets
	// connect_timeout. Default: 10 s.
	ConnectTimeout time.Duration
	// Published reports whether anything of this pipeline is in its topics. It
	// is asked before a slot that was never recorded is dropped and made anew.
	// Default: only the source database's own records are asked.
	Published func(context.Context) (bool, error)
	// Held says what the topics hold, from any goroutine. What it says is saved before the
	// server is told of what is confirmed, see Held. Default: Source.Confirm alone decides,
	// and Progress saves the tails.
	Held func() Held
	// Repair makes Open leave what is wrong with the slot to Source.Damage, instead of
	// refusing, and makes it make no slot: for Source.Compare and Source.Remake. Until
	// the source is closed no other process makes the slot.
	Repair bool
	// Logger. Default: none.
	Logger *slog.Logger
}

// Held is what topics hold: every event that committed below Confirmed, in partitions whose
// last messages are Tails, or what was saved of them before. Tails may be ahead.
//
// Invariant: the slot has passed nothing of which the source database does not know where
// it went. So when a topic is deleted, what was saved of it says what it held of that: all
// else is streamed again, and published at the same positions and under the same ordinals
// as before.
type Held struct {
	Confirmed uint64
	Tails     []PartitionTail
}

// The keys of log records.
const (
	keyPipeline = "pipeline"
	keySlot     = "slot"
	keyLSN      = "lsn"
)

// settings is a Config with its defaults, checked.
type settings struct {
	Config
	conn *pgx.ConnConfig
}

func (c Config) withDefaults() (settings, error) {
	if c.URL == "" {
		return settings{}, ErrConfig.New("the address of the source database is missing")
	}
	conn, err := pgx.ParseConfig(c.URL)
	if err != nil {
		return settings{}, ErrConfig.New("%s", pgfault.Unusable(err))
	}
	if c.Pipeline == "" {
		c.Pipeline = conn.Database
	}
	if c.Pipeline == "" {
		c.Pipeline = conn.User
	}
	if c.Slot == "" {
		c.Slot = SlotName(c.Pipeline)
	}
	if !slotName.MatchString(c.Slot) {
		return settings{}, ErrConfig.New("slot name %.80q: want 1 to 63 of a-z, 0-9 and _", c.Slot)
	}
	if c.Publication == "" {
		c.Publication = "runnel"
	}
	c.StatusInterval = orDefault(c.StatusInterval, time.Second)
	c.ReceiveTimeout = orDefault(c.ReceiveTimeout, 30*time.Second)
	c.ConnectTimeout = orDefault(c.ConnectTimeout, 10*time.Second)
	if conn.ConnectTimeout == 0 {
		conn.ConnectTimeout = c.ConnectTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Logger = c.Logger.With(keyPipeline, c.Pipeline)
	return settings{Config: c, conn: conn}, nil
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

var slotName = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

// SlotName returns the slot of a pipeline: runnel_ and its name. A name that
// is no valid slot name as it is gets a digest, so that two never share one.
func SlotName(pipeline string) string {
	name := "runnel_" + pipeline
	if slotName.MatchString(name) {
		return name
	}
	clean := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '_'
	}, name)
	digest := sha256.Sum256([]byte(pipeline))
	return clean[:min(len(clean), 54)] + "_" + hex.EncodeToString(digest[:4])
}

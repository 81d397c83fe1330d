package broker

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/apache/pulsar-client-go/pulsar/log"
)

// clientLog carries the client library's messages into slog, one level lower
// than the client thinks: what matters comes back as an error, and is reported
// once, by whoever handles it.
type clientLog struct{ out *slog.Logger }

var (
	_ log.Logger = clientLog{}
	_ log.Entry  = clientLog{}
)

func (l clientLog) SubLogger(f log.Fields) log.Logger      { return l.with(f) }
func (l clientLog) WithFields(f log.Fields) log.Entry      { return l.with(f) }
func (l clientLog) WithField(name string, v any) log.Entry { return l.with(log.Fields{name: v}) }
func (l clientLog) WithError(err error) log.Entry          { return l.with(log.Fields{"error": err}) }
func (l clientLog) Debug(...any)                           {}
func (l clientLog) Debugf(string, ...any)                  {}
func (l clientLog) Info(args ...any)                       { l.log(slog.LevelDebug, args) }
func (l clientLog) Warn(args ...any)                       { l.log(slog.LevelDebug, args) }
func (l clientLog) Error(args ...any)                      { l.log(slog.LevelInfo, args) }
func (l clientLog) Warnf(format string, args ...any)       { l.logf(slog.LevelDebug, format, args) }
func (l clientLog) Infof(format string, args ...any)       { l.logf(slog.LevelDebug, format, args) }
func (l clientLog) Errorf(format string, args ...any)      { l.logf(slog.LevelInfo, format, args) }

func (l clientLog) with(fields log.Fields) clientLog {
	if !l.out.Enabled(context.Background(), slog.LevelInfo) {
		return l // the client derives loggers on warm paths
	}
	attrs := make([]any, 0, len(fields))
	for name, v := range fields {
		attrs = append(attrs, slog.String(name, fmt.Sprint(v)))
	}
	l.out = l.out.With(attrs...)
	return l
}

func (l clientLog) log(level slog.Level, args []any) {
	if l.out.Enabled(context.Background(), level) {
		l.out.Log(context.Background(), level, "pulsar client: "+strings.TrimSpace(fmt.Sprint(args...)))
	}
}

func (l clientLog) logf(level slog.Level, format string, args []any) {
	if l.out.Enabled(context.Background(), level) {
		l.out.Log(context.Background(), level, "pulsar client: "+fmt.Sprintf(format, args...))
	}
}

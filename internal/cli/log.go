package cli

import (
	"io"
	"log/slog"
	"time"

	"github.com/lmittmann/tint"

	"github.com/runnel-cdc/runnel/internal/config"
)

// logger writes to standard error: coloured for people on a terminal, one
// key=value line a record otherwise, or JSON.
func (a *app) logger(c config.Log) *slog.Logger {
	return slog.New(logHandler(a.stderr, c, isTerminal(a.stderr), a.colored(a.stderr)))
}

func logHandler(w io.Writer, c config.Log, terminal, colored bool) slog.Handler {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // the configuration admits known levels only
	switch {
	case c.Format == "json":
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})
	case c.Format == "auto" && terminal:
		return tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: !colored})
	}
	return slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})
}

package pipeline

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/walwatch"
)

// Warning is something that is about to go wrong while the pipeline works.
type Warning struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Remedy  string `json:"remedy"`
}

// Warnings returns what walwatch warns of, as status and commands show it.
func Warnings(all []*fault.Error) []Warning {
	warnings := make([]Warning, len(all))
	for i, e := range all {
		warnings[i] = Warning{e.Code.ID, e.Message, e.WhatToDo()}
	}
	return warnings
}

// retention takes what the server tells of the WAL that it keeps, and logs each
// warning when it begins and when it is over. It is called by one goroutine at a
// time: a run's, or that of the pause between two.
func (r *reporter) retention(st walwatch.State, at time.Time, log *slog.Logger) {
	r.metrics.retention.set(st)
	all := st.Warnings(func(code *fault.Code) bool { return r.warned[code] })
	now := make(map[*fault.Code]bool, len(all))
	for _, e := range all {
		now[e.Code] = true
		if !r.warned[e.Code] {
			log.Warn("the server's WAL needs attention", "code", e.Code.ID, "reason", e.Message, "remedy", e.WhatToDo())
		}
	}
	for code := range r.warned {
		if !now[code] {
			log.Info("the warning is over", "code", code.ID, "kept", st.Kept())
		}
	}
	r.warned = now
	r.metrics.warning.Reset()
	for code := range now {
		r.metrics.warning.WithLabelValues(code.ID).Set(1)
	}
	r.mu.Lock()
	r.st.LagBytes = nil
	if lag, known := st.Lag(); known {
		r.st.LagBytes = &lag
	}
	r.backlog.measured(st.Slot.CurrentLSN, at)
	r.st.Warnings = Warnings(all)
	r.mu.Unlock()
}

// unmeasured tells that the source database does not answer: what it said last is of then.
func (r *reporter) unmeasured() {
	r.metrics.retention.forget()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.st.LagBytes = nil
	r.backlog.silent()
}

// backlogUnknown reports whether the database should be asked what waits.
func (r *reporter) backlogUnknown() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.backlog.unknown()
}

// oldestUnknown tells that the database has not said what waits.
func (r *reporter) oldestUnknown() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.backlog.silent()
}

// oldestUnconfirmed takes the database's answer, which was asked at a time: the zero time when nothing waits.
func (r *reporter) oldestUnconfirmed(oldest, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.backlog.answered(oldest, at)
}

// walMetrics tell of the WAL that the server keeps. What there is only with a slot,
// or with a limit, is absent without one, and before it is measured: no number would be
// right for an alert.
type walMetrics struct {
	lag, retained, held, inactive, safe, limit, status *prometheus.GaugeVec
}

func newWALMetrics(registry prometheus.Registerer) *walMetrics {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	m := &walMetrics{
		lag:      gauge("runnel_wal_lag_bytes", "Bytes of WAL written and not confirmed; this and what is kept for the slot are absent without one."),
		retained: gauge("runnel_slot_retained_wal_bytes", "Bytes of WAL that the server keeps for the slot."),
		held:     gauge("runnel_slot_held_wal_bytes", "Bytes of WAL that are confirmed and kept all the same, for transactions that are open or were just now."),
		inactive: gauge("runnel_slot_inactive_seconds", "For how long nobody has read the slot; 0 before Postgres 17."),
		safe:     gauge("runnel_slot_safe_wal_bytes", "Bytes of WAL that may be written before the slot can be lost; absent without a limit."),
		limit:    gauge("runnel_slot_wal_limit_bytes", "Bytes of WAL that the server keeps for a slot at most; absent without a limit."),
		status:   gauge("runnel_slot_wal_status_info", "1 for the slot's wal_status.", "wal_status"),
	}
	registry.MustRegister(m.lag, m.retained, m.held, m.inactive, m.safe, m.limit, m.status)
	return m
}

// forget makes all of them absent.
func (m *walMetrics) forget() {
	for _, g := range []*prometheus.GaugeVec{m.lag, m.retained, m.held, m.inactive, m.safe, m.limit, m.status} {
		g.Reset()
	}
}

func (m *walMetrics) set(st walwatch.State) {
	m.forget()
	if lag, known := st.Lag(); known {
		m.lag.WithLabelValues().Set(float64(lag))
	}
	if st.Slot.Exists {
		m.retained.WithLabelValues().Set(float64(st.Slot.RetainedBytes()))
		m.held.WithLabelValues().Set(float64(st.Held()))
		m.inactive.WithLabelValues().Set(st.Inactive.Seconds())
	}
	if st.Safe != nil {
		m.safe.WithLabelValues().Set(float64(*st.Safe))
	}
	if st.Limit >= 0 {
		m.limit.WithLabelValues().Set(float64(st.Limit))
	}
	if st.Slot.WALStatus != "" {
		m.status.WithLabelValues(st.Slot.WALStatus).Set(1)
	}
}

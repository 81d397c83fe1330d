package pipeline

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/runnel-cdc/runnel/internal/fault"
)

// metrics are what /metrics shows. Names follow Prometheus' rules.
type metrics struct {
	registry       *prometheus.Registry
	runs           prometheus.Counter
	errors         *prometheus.CounterVec
	haltedCode     *prometheus.GaugeVec
	state          *prometheus.GaugeVec
	published      *prometheus.CounterVec
	warning        *prometheus.GaugeVec
	retention      *walMetrics
	parked         prometheus.Gauge
	inFlightEvents prometheus.Gauge
	inFlightBytes  prometheus.Gauge
}

// newMetrics makes the metrics; oldest is asked when they are read.
func newMetrics(version string, oldest func() (float64, bool)) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		runs: prometheus.NewCounter(prometheus.CounterOpts{Name: "runnel_runs_total",
			Help: "Attempts at streaming, the current one included."}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "runnel_run_errors_total",
			Help: "Runs that ended with an error, by code."}, []string{"code"}),
		haltedCode: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "runnel_halted",
			Help: "1 while the pipeline is halted with this code and waits for a person."}, []string{"code"}),
		state: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "runnel_state_info",
			Help: "1 for the state that the pipeline is in."}, []string{"state"}),
		published: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "runnel_published_events_total",
			Help: "Events acknowledged by the broker, by topic."}, []string{"topic"}),
		warning: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "runnel_warning",
			Help: "1 while something is about to go wrong, by code."}, []string{"code"}),
		parked: prometheus.NewGauge(prometheus.GaugeOpts{Name: "runnel_parked_events",
			Help: "Events in the dead-letter topic that wait to be retried or discarded."}),
		inFlightEvents: prometheus.NewGauge(prometheus.GaugeOpts{Name: "runnel_in_flight_events",
			Help: "Events queued or sent and not acknowledged."}),
		inFlightBytes: prometheus.NewGauge(prometheus.GaugeOpts{Name: "runnel_in_flight_bytes",
			Help: "Bytes of events queued or sent and not acknowledged."}),
	}
	age := ageMetric{prometheus.NewDesc("runnel_oldest_unpublished_seconds",
		"Age of the oldest committed transaction that is not published, or an upper bound of it while no run has come to it; absent while nothing is known.", nil, nil), oldest}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "runnel_build_info",
		Help: "Always 1; the labels tell the version.", ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()}})
	build.Set(1)
	m.registry.MustRegister(m.runs, m.errors, m.haltedCode, m.state, m.published, m.warning, age, m.parked,
		m.inFlightEvents, m.inFlightBytes, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.retention = newWALMetrics(m.registry)
	return m
}

func (m *metrics) failed(err error) {
	code := "OTHER"
	if f := fault.Find(err); f != nil {
		code = f.Code.ID
	}
	m.errors.WithLabelValues(code).Inc()
}

func (m *metrics) entered(state string) {
	m.state.Reset()
	m.state.WithLabelValues(state).Set(1)
}

func (m *metrics) haltedWith(halted bool, code string) {
	m.haltedCode.Reset()
	if halted {
		m.haltedCode.WithLabelValues(code).Set(1)
	}
}

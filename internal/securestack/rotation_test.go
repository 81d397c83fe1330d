package securestack_test

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/securestack"
)

// held has sessions that are up before certificates expire: those of a test are new each
// time.
type held struct {
	*world
	source, target *pgx.Conn
}

func (h *held) exec(sql string, args ...any) {
	h.t.Helper()
	if _, err := h.source.Exec(h.t.Context(), sql, args...); err != nil {
		h.t.Fatal(err)
	}
}

// certificates gives both servers certificates that expire.
func (h *held) certificates(expires time.Duration) {
	t := h.t
	t.Helper()
	pair, err := stack.Authority.Issue(securestack.Request{Hosts: []string{securestack.Host}, Expires: expires})
	if err == nil {
		err = errors.Join(stack.ReplacePostgresCertificate(pair.Certificate, pair.Key), stack.ReplacePulsarCertificate(pair.Certificate, pair.Key))
	}
	if err != nil {
		t.Fatal(err)
	}
	h.exec("select pg_reload_conf()")
}

// hangUp ends the daemon's sessions.
func (h *held) hangUp() {
	h.t.Helper()
	h.exec(`select pg_terminate_backend(pid) from pg_stat_activity where usename = $1`, h.db.Role("daemon"))
}

// anew does so and waits for the daemon's next run.
func (h *held) anew(p *pipeline.Pipeline) pipeline.Status {
	h.t.Helper()
	before := p.Status().Run
	h.hangUp()
	var st pipeline.Status
	eventually(h.t, "the next run", func() bool {
		st = p.Status()
		return st.State == pipeline.Streaming && st.Run > before
	})
	return st
}

// more commits events, one a transaction.
func (h *held) more(n int) {
	h.t.Helper()
	for range n {
		h.written++
		h.exec(`select runnel.publish('order', ($1::int % 17)::text, 'OrderShipped', jsonb_build_object(
			'order_id', $1::int::text, 'carrier', 'DHL', 'shipped_at', now()))`, h.written)
	}
}

// goesOn requires that events pass in the run that there is.
func (h *held) goesOn(p *pipeline.Pipeline, run int, what string) {
	h.t.Helper()
	h.more(20)
	h.arrived()
	if st := p.Status(); st.State != pipeline.Streaming || st.Run != run {
		h.t.Errorf("%s: %s in run %d, was streaming in run %d: %s %s", what, st.State, st.Run, run, st.Code, st.Message)
	}
}

// arrived waits until the projection holds all that was written, each once.
func (h *held) arrived() {
	h.t.Helper()
	eventually(h.t, "the events in the copy", func() bool {
		var n int
		err := h.target.QueryRow(h.t.Context(), "select count(*) from copy.shipped").Scan(&n)
		return err == nil && n == h.written
	})
}

// What holds connections up is replaced while they are: they go on, and the next ones
// take what is there by then, without a restart.
func TestReplacedWhileRunning(t *testing.T) {
	w := newWorld(t)
	h := &held{world: w, source: w.db.Conn(t), target: w.copies.Conn(t)}
	setUp := w.cfg
	setUp.AutoApply, setUp.Broker = true, as(t, provisioner)
	p, stop := w.start(setUp)
	w.reaches(p, pipeline.Streaming, "")
	stop()
	grant(t, w.cfg.Namespace, daemon, "produce", "consume")
	grant(t, w.cfg.Namespace, consumer, "consume")
	w.project()
	p, stop = w.start(w.cfg)
	defer func() {
		stop()
		if t.Failed() {
			t.Log(written.String())
		}
	}()
	w.reaches(p, pipeline.Streaming, "")
	h.more(20)
	h.arrived()

	// The password, on the server and in the file.
	run := p.Status().Run
	w.setPassword("the third of the passwords")
	h.goesOn(p, run, "with another password")
	if st := h.anew(p); st.Run != run+1 {
		t.Errorf("run %d followed run %d: the new password was not taken at once", st.Run, run)
	}

	// The token, before it expires.
	expires := time.Now().Add(6 * time.Second)
	w.publisher.write(daemon, expires)
	run = h.anew(p).Run
	w.publisher.write(daemon, time.Time{})
	eventually(t, "the first token to have expired", func() bool { return time.Now().After(expires.Add(2 * time.Second)) })
	h.goesOn(p, run, "after the first token expired")

	// The servers' certificates expire under connections that are up.
	defer h.certificates(0) // by a session that is up
	for life := 8 * time.Second; ; life *= 2 {
		expires = time.Now().Add(life)
		h.certificates(life)
		eventually(t, "Pulsar's certificate to be shown", func() bool { return soon(t, expires) })
		if run = h.anew(p).Run; time.Now().Before(expires) {
			break
		} // a machine that is too slow for that
	}
	var refused error
	eventually(t, "Postgres to be refused", func() bool { refused = session(t, w.db.URL()); return refused != nil })
	must(t, "an expired certificate", refused, capture.ErrTLS, "Renew the database server's certificate")
	eventually(t, "Pulsar to be refused", func() bool { refused = reach(t, w); return refused != nil })
	must(t, "an expired certificate", refused, broker.ErrTLS, "Renew the broker's certificate")
	h.goesOn(p, run, "after the certificates expired")

	// New connections are refused, of the daemon too; the files are replaced.
	h.hangUp()
	h.more(20)
	w.reaches(p, pipeline.Halted, "PULSAR_TLS")
	h.certificates(0)
	h.arrived()
	w.reaches(p, pipeline.Streaming, "")
}

// reach connects to the broker as the daemon does.
func reach(t *testing.T, w *world) error {
	t.Helper()
	p, err := broker.Dial(t.Context(), with(w.publisher))
	if err == nil {
		p.Close()
	}
	return err
}

// soon reports whether the broker shows a certificate that expires then.
func soon(t *testing.T, expires time.Time) bool {
	t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(stack.PulsarURL, "pulsar+ssl://"), &tls.Config{RootCAs: stack.Authority.Pool(), MinVersion: tls.VersionTLS12})
	if err != nil {
		return time.Now().After(expires) // it did
	}
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0].NotAfter.Sub(expires).Abs() < 2*time.Second
}

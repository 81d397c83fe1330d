package testserver

import (
	"runtime"
	"testing"
)

// recorder stands in for a test and records how it ended.
type recorder struct {
	testing.TB
	ended string
}

func (r *recorder) Helper()              {}
func (r *recorder) Skipf(string, ...any) { r.ended = "skipped"; runtime.Goexit() }
func (r *recorder) Fatalf(string, ...any) {
	r.ended = "failed"
	runtime.Goexit()
}

func TestAddress(t *testing.T) {
	for _, c := range []struct{ address, servers, want, ended string }{
		{address: "postgres://x", want: "postgres://x"},
		{address: "postgres://x", servers: "required", want: "postgres://x"},
		{ended: "skipped"},
		{servers: "required", ended: "failed"},
		{servers: "optional", ended: "skipped"},
	} {
		t.Setenv(Postgres, c.address)
		t.Setenv(Servers, c.servers)
		r, got, done := &recorder{}, "", make(chan struct{})
		go func() { // Goexit must not end this test
			defer close(done)
			got = Address(r, Postgres)
		}()
		<-done
		if got != c.want || r.ended != c.ended {
			t.Errorf("%+v: got %q, ended %q", c, got, r.ended)
		}
	}
}

package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pipeline"
)

var daemonChecks = []Check{
	{Name: "daemon", About: "the daemon, if it runs, streams", Run: checkDaemon},
}

// Daemon is what the pipeline's daemon, or what is in its place, answered.
type Daemon struct {
	URL    string           `json:"url"` // "" when http is off
	Error  string           `json:"error,omitempty"`
	Status *pipeline.Status `json:"status"` // null when it did not answer

	absent bool // nothing listens there
}

// How long a daemon may take to answer, and how much, in bytes.
const (
	answerLimit = 3 * time.Second
	maxAnswer   = 4 << 20
)

// AskDaemon asks the daemon that should listen at the configured address.
func AskDaemon(ctx context.Context, cfg *config.Config) Daemon {
	address := cfg.HTTPAddress()
	if address == "" {
		return Daemon{}
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return Daemon{Error: err.Error()}
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	d := Daemon{URL: "http://" + net.JoinHostPort(host, port)}
	st, err := fetchStatus(ctx, d.URL+"/status")
	switch {
	case err != nil:
		d.Error, d.absent = err.Error(), errors.Is(err, syscall.ECONNREFUSED)
	case st.Pipeline != cfg.Name:
		d.Error = fmt.Sprintf("the pipeline that answers is %q", st.Pipeline)
	default:
		d.Status = st
	}
	return d
}

func fetchStatus(ctx context.Context, url string) (*pipeline.Status, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Timeout: answerLimit, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			return nil, op.Err // without the URL, which is said already
		}
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("what answers is not a runnel daemon (HTTP status %d)", response.StatusCode)
	}
	var st pipeline.Status
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&st); err != nil || st.State == "" {
		return nil, errors.New("what answers is not a runnel daemon")
	}
	return &st, nil
}

func checkDaemon(ctx context.Context, s *Session) (string, error) {
	if s.cfg.Name == "" {
		return "", skipped{"which pipeline is meant is not known (--name or --postgres)"}
	}
	return judgeDaemon(s.askDaemon(ctx))
}

// judgeDaemon finds nothing wrong with a daemon that is not there: the doctor is
// also asked before the first start.
func judgeDaemon(d Daemon) (string, error) {
	switch st := d.Status; {
	case d.URL == "" && d.Error == "":
		return "", skipped{"http is off, so it cannot be asked"}
	case d.absent:
		return "", skipped{fmt.Sprintf("nothing listens at %s: it does not run, or listens elsewhere (--http)", d.URL)}
	case st == nil:
		return "", warning{ErrDaemonUnknown.New("%s", d.Error).At("%s", d.URL)}
	case st.State == pipeline.Streaming:
		return fmt.Sprintf("version %s, up for %s, streaming for %s, at %s",
			st.Version, FormatAge(st.Started), FormatAge(st.Since), d.URL), nil
	case st.State == pipeline.Halted:
		return "", daemonFault(st)
	default:
		return "", warning{daemonFault(st)}
	}
}

// daemonFault is the fault that a daemon tells, under its own code.
func daemonFault(st *pipeline.Status) error {
	saw := fmt.Sprintf("%s for %s", st.State, FormatAge(st.Since))
	if st.Message != "" {
		saw += ": " + st.Message
	}
	if st.Code == "" {
		return ErrDaemonUnready.New("%s", saw)
	}
	return (&fault.Code{ID: st.Code, Class: fault.Environment, Cause: ErrDaemonUnready.Cause, Remedy: st.Remedy}).New("%s", saw)
}

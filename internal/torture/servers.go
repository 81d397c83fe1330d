package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/runnel-cdc/runnel/internal/pipeline"
)

// killBroker is a SIGKILL of everything of Pulsar's, and a start.
func (r *runner) killBroker(ctx context.Context, rec *FaultRecord) error {
	if err := r.trigger(ctx, rec, r.stack.KillBroker); err != nil {
		return err
	}
	return r.stack.StartBroker(ctx)
}

// pauseBroker stops Pulsar for 1 to 8 s, so that connections drop, or nearly do.
func (r *runner) pauseBroker(ctx context.Context, rec *FaultRecord) error {
	if err := r.trigger(ctx, rec, r.stack.PauseBroker); err != nil {
		return err
	}
	length := time.Second + r.some(7*time.Second)
	rec.Note = "for " + length.Round(time.Millisecond).String()
	return errors.Join(hold(ctx, length), r.stack.ResumeBroker())
}

// freezeBroker stops Pulsar while events go on, and kills it: what was sent
// meanwhile was never stored.
func (r *runner) freezeBroker(ctx context.Context, rec *FaultRecord) error {
	if err := r.trigger(ctx, rec, r.stack.PauseBroker); err != nil {
		return err
	}
	length := time.Second + r.some(3*time.Second)
	rec.Note = "killed after " + length.Round(time.Millisecond).String()
	return errors.Join(hold(ctx, length), r.stack.KillBroker(), r.stack.StartBroker(ctx))
}

// crashPostgres ends it at once, and starts it again.
func (r *runner) crashPostgres(ctx context.Context, rec *FaultRecord) error {
	return r.trigger(ctx, rec, func() error { return r.stack.RestartPostgres(ctx) })
}

// killWalsender ends the daemon's session, and waits for its next one: what is
// acknowledged before it has noticed does not show that it resumed, and a daemon
// that comes next would be the one that streams.
func (r *runner) killWalsender(ctx context.Context, rec *FaultRecord) error {
	before, err := r.look(ctx)
	if err != nil {
		return err
	}
	if err := r.trigger(ctx, rec, func() error { return r.endWalsender(ctx) }); err != nil {
		return err
	}
	err = await(ctx, r.o.Patience, func(ctx context.Context) bool {
		now, err := r.look(ctx)
		return err == nil && now.PID != 0 && now.PID != before.PID
	})
	if err != nil {
		return fmt.Errorf("the daemon does not stream again: %w", err)
	}
	return nil
}

// unload closes a topic on its broker; it is opened again when it is asked for.
func (r *runner) unload(ctx context.Context, rec *FaultRecord) error {
	topic := sortedTopics()[r.rand.IntN(len(topics()))]
	rec.Note = topic
	return r.trigger(ctx, rec, func() error { return r.admin(ctx, http.MethodPut, topicPath(topic)+"/unload", nil) })
}

// smallMessages sets a topic's maxMessageSize below every event, and takes it back.
func (r *runner) smallMessages(ctx context.Context, rec *FaultRecord) error {
	path := topicPath("account") + "/maxMessageSize"
	if err := r.trigger(ctx, rec, func() error { return r.admin(ctx, http.MethodPost, path, 300) }); err != nil {
		return err
	}
	err := r.awaitState(ctx, rec, pipeline.Halted, "EVENT_TOO_LARGE")
	return errors.Join(err, r.admin(ctx, http.MethodDelete, path, nil))
}

// quota lets a topic's backlog exceed its quota, and takes the quota back.
func (r *runner) quota(ctx context.Context, rec *FaultRecord) error {
	path := topicPath("parcel") + "/backlogQuota?backlogQuotaType=destination_storage"
	err := r.trigger(ctx, rec, func() error {
		body := map[string]any{"limitSize": 1, "limitTime": -1, "policy": "producer_exception"}
		if err := r.admin(ctx, http.MethodPost, path, body); err != nil {
			return err
		}
		return r.admin(ctx, http.MethodPut, topicPath("parcel")+"/unload", nil)
	})
	if err != nil {
		return err
	}
	err = r.awaitState(ctx, rec, pipeline.Retrying, "QUOTA_EXCEEDED")
	return errors.Join(err, r.admin(ctx, http.MethodDelete, path, nil))
}

// deduplicationOff switches it off, makes the run start over, and switches it on.
func (r *runner) deduplicationOff(ctx context.Context, rec *FaultRecord) error {
	const path = "/admin/v2/namespaces/" + namespace + "/deduplication"
	err := r.trigger(ctx, rec, func() error {
		return errors.Join(r.admin(ctx, http.MethodPost, path, false), r.endWalsender(ctx))
	})
	if err != nil {
		return err
	}
	err = r.awaitState(ctx, rec, pipeline.Halted, "NAMESPACE_POLICY", "DEDUPLICATION_OFF")
	return errors.Join(err, r.admin(ctx, http.MethodPost, path, true))
}

// starve takes the processors away from everything.
func (r *runner) starve(ctx context.Context, rec *FaultRecord) error {
	before, err := r.look(ctx)
	if err != nil {
		return err
	}
	var burner *process
	err = r.trigger(ctx, rec, func() (err error) {
		burner, err = r.spawn(ctx, roleBurn, settings{}, "")
		return err
	})
	if err != nil {
		return err
	}
	defer burner.Kill()
	// Feedback goes on: so many status messages, and events besides.
	const feedback = "capture.confirmed:5:note"
	if err := r.daemon.arm(feedback); err != nil {
		return err
	}
	if _, err := r.daemon.awaitRule(ctx, feedback, r.o.Patience); err != nil {
		return err
	}
	if err := r.passing(ctx, 10); err != nil {
		return fmt.Errorf("starved: %w", err)
	}
	after, err := r.look(ctx)
	rec.Note = "the walsender was kept"
	if after.PID != before.PID {
		rec.Note = "the walsender was replaced"
	}
	return err
}

// awaitState waits until the daemon says that it is in a state with one of codes.
func (r *runner) awaitState(ctx context.Context, rec *FaultRecord, state string, codes ...string) error {
	var st pipeline.Status
	err := await(ctx, r.o.Patience, func(ctx context.Context) bool {
		st = r.daemon.status(ctx)
		return st.State == state && slices.Contains(codes, st.Code)
	})
	if err != nil {
		return fmt.Errorf("state %s %s %s, want %s %v: %w", st.State, st.Code, st.Message, state, codes, err)
	}
	rec.Note = st.State + " " + st.Code
	return nil
}

// hold waits.
func hold(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func topicPath(local string) string { return "/admin/v2/persistent/" + namespace + "/" + local }

// admin asks Pulsar's admin interface; it may be slow just after a start.
func (r *runner) admin(ctx context.Context, method, path string, body any) error {
	_, err := r.ask(ctx, method, path, body)
	return err
}

func (r *runner) adminGet(ctx context.Context, path string) ([]byte, error) {
	return r.ask(ctx, http.MethodGet, path, nil)
}

func (r *runner) ask(ctx context.Context, method, path string, body any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, r.o.Patience)
	defer cancel()
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, r.stack.PulsarAdminURL+path, content)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s %.4096s", method, path, response.Status, answer)
	}
	return answer, err
}

// keepLogs copies the logs of Postgres and Pulsar to the run's folder.
func (r *runner) keepLogs() error {
	for _, server := range r.stack.Servers() {
		text, err := os.ReadFile(server.Log)
		if err == nil {
			err = os.WriteFile(filepath.Join(r.o.Dir, filepath.Base(server.Log)), text, 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

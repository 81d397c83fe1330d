package tail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/deadletter"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/history"
	"github.com/runnel-cdc/runnel/internal/nearest"
)

// REST is the broker's admin interface.
type REST interface {
	HTTP() *http.Client
	AdminURL() string
}

// maxAnswer bounds an answer of the admin interface, in bytes.
const maxAnswer = 16 << 20

func get(ctx context.Context, rest REST, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, rest.AdminURL()+"/admin/v2"+path, nil)
	if err != nil {
		return err
	}
	response, err := rest.HTTP().Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return broker.ErrAdmin.Wrap(err, "GET %s", path)
	}
	defer func() { _ = response.Body.Close() }()
	switch {
	case response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden:
		body, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer)) // what came is enough
		return broker.AnswerFault(http.MethodGet, path, response.StatusCode, body)
	case response.StatusCode == http.StatusNotFound:
		return broker.ErrTopicMissing.New("GET %s: not found", path)
	case response.StatusCode != http.StatusOK:
		return broker.ErrAdmin.New("GET %s: HTTP status %d", path, response.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(into); err != nil {
		return broker.ErrWrongServer.Wrap(err, "GET %s", path)
	}
	return nil
}

// Topics returns the full names of a namespace's partitioned topics that hold events, sorted.
func Topics(ctx context.Context, rest REST, namespace string) ([]string, error) {
	var names []string
	err := get(ctx, rest, "/persistent/"+namespace+"/partitioned", &names)
	if errors.Is(err, broker.ErrTopicMissing) {
		return nil, broker.ErrTopicMissing.New("the namespace %s does not exist", namespace).
			Fix("Correct topics.namespace (`runnel config show` prints it), or publish first: `runnel run --auto-apply` creates what is missing.")
	}
	topics := slices.DeleteFunc(names, func(n string) bool { // the broker's own, e.g. for policies, and pipelines' histories
		local := n[strings.LastIndexByte(n, '/')+1:]
		return strings.HasPrefix(local, "__") || history.IsTopic(local) || deadletter.IsTopic(local)
	})
	slices.Sort(topics)
	return topics, err
}

// partitionSuffix is what the broker adds to a topic's name for each partition.
var partitionSuffix = regexp.MustCompile(`-partition-[0-9]+$`)

// maxNamed bounds how many topics an error names.
const maxNamed = 10

// missing adds to err, which says that there is no such topic, what was probably
// meant, if the broker tells which topics there are.
func missing(ctx context.Context, rest REST, topic string, err *fault.Error) error {
	namespace, local, _ := split(topic)
	there, listErr := Topics(ctx, rest, namespace)
	switch {
	case errors.Is(listErr, broker.ErrTopicMissing): // the namespace does not exist
		return listErr
	case listErr != nil || len(there) == 0:
		return err
	}
	names := make([]string, len(there))
	for i, name := range there {
		_, names[i], _ = split(name)
	}
	var fix strings.Builder
	if near := nearest.Of(partitionSuffix.ReplaceAllString(local, ""), names); near != "" {
		fmt.Fprintf(&fix, "Did you mean %s? ", near)
	}
	if more := len(names) - maxNamed; more > 0 {
		fmt.Fprintf(&fix, "Its topics are %s and %d more, which `pulsar-admin topics list-partitioned-topics %s` lists.",
			strings.Join(names[:maxNamed], ", "), more, namespace)
	} else {
		fmt.Fprintf(&fix, "The topics there are: %s.", strings.Join(names, ", "))
	}
	return err.Fix("%s", fix.String())
}

// split takes a topic's full name apart.
func split(topic string) (namespace, local string, ok bool) {
	name, ok := strings.CutPrefix(topic, "persistent://")
	slash := strings.LastIndexByte(name, '/')
	if !ok || slash < 0 {
		return "", "", false
	}
	return name[:slash], name[slash+1:], true
}

// ledgers is the part of a partition's internalStats that is used. The open
// ledger, the last, is listed with no entries.
type ledgers struct {
	Current int64 `json:"currentLedgerEntries"`
	Ledgers []struct {
		ID      int64 `json:"ledgerId"`
		Entries int64 `json:"entries"`
	} `json:"ledgers"`
}

// startBefore returns where to begin to read at least the last n messages, and
// whether that is the partition's beginning.
func startBefore(ctx context.Context, rest REST, p broker.Partition, n int64) (start broker.Start, whole bool, err error) {
	if n == 0 {
		return broker.Start{Latest: true}, false, nil
	}
	namespace, local, ok := split(p.Topic)
	if !ok {
		return start, false, broker.ErrConfig.New("%q is not a topic of the form persistent://tenant/namespace/name", p.Topic)
	}
	path := "/persistent/" + namespace + "/" + url.PathEscape(local) + "-partition-" + strconv.Itoa(p.Index) + "/internalStats"
	var stats ledgers
	if err := get(ctx, rest, path, &stats); err != nil {
		return start, false, fmt.Errorf("%s: %w", p, err)
	}
	start, whole = stats.before(n)
	return start, whole, nil
}

// before steps back n entries from the end.
func (s ledgers) before(n int64) (start broker.Start, whole bool) {
	for i := len(s.Ledgers) - 1; i >= 0; i-- {
		l := s.Ledgers[i]
		if i == len(s.Ledgers)-1 && l.Entries == 0 {
			l.Entries = s.Current
		}
		if n < l.Entries || n == l.Entries && i > 0 {
			return broker.Start{FromEntry: &broker.MessageID{Ledger: l.ID, Entry: l.Entries - n, Batch: -1}}, false
		}
		n -= max(l.Entries, 0)
	}
	return broker.Start{}, true
}

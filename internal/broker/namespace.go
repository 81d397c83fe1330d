package broker

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// NamespacePolicy is what differs between installations. Everything else about
// a namespace of Runnel's is fixed: see policies.
type NamespacePolicy struct {
	Retention Retention // zero: forever
}

// namespacePolicies is the part of a namespace's policies that Runnel sets.
// Pointers: nil means that the broker's default applies.
type namespacePolicies struct {
	Deduplication *bool             `json:"deduplicationEnabled"`
	Retention     *retentionPolicy  `json:"retention_policies"`
	Compatibility string            `json:"schema_compatibility_strategy"`
	AutoUpdate    *bool             `json:"is_allow_auto_update_schema"`
	Validation    bool              `json:"schema_validation_enforced"`
	AutoCreation  *autoCreation     `json:"autoTopicCreationOverride"`
	Inactive      *inactivePolicies `json:"inactive_topic_policies"`
}

type autoCreation struct {
	Allow bool `json:"allowAutoTopicCreation"`
}

type inactivePolicies struct {
	Mode   string `json:"inactiveTopicDeleteMode"`
	MaxAge int    `json:"maxInactiveDurationSeconds"`
	Delete bool   `json:"deleteWhileInactive"`
}

// policy is one policy: how it is, how it must be, how to set it.
type policy struct {
	name   string
	have   string
	want   string
	fatal  bool
	method string
	path   string // below /namespaces/<ns>/
	body   any
	fix    string // arguments of pulsar-admin namespaces; %s is the namespace
}

// policies compares. Why each: without deduplication a reconnect doubles;
// without retention acknowledged events go, and a consumer that joins later
// starts with a gap; the broker's own compatibility check refuses typed
// readers after a branch was added, so ours is the judge, and only schemas
// apply may write to the registry; an early subscriber must not create the
// topic unpartitioned; a quiet topic must not be deleted.
func policies(p namespacePolicies, want NamespacePolicy) []policy {
	have, wanted := "the broker's default", want.Retention.wire()
	if p.Retention != nil {
		have = p.Retention.String()
	}
	return []policy{
		{"deduplication", onOff(p.Deduplication), "on", true,
			http.MethodPost, "deduplication", true, "set-deduplication %s --enable"},
		{retentionName, have, wanted.String(), false,
			http.MethodPost, "retention", wanted, fmt.Sprintf("set-retention %%s --time %s --size %s", wanted.minutes(), wanted.size())},
		{"schema compatibility", orDefault(p.Compatibility), "ALWAYS_COMPATIBLE", true,
			http.MethodPut, "schemaCompatibilityStrategy", "ALWAYS_COMPATIBLE", "set-schema-compatibility-strategy %s --compatibility ALWAYS_COMPATIBLE"},
		{"schema auto-update", onOff(p.AutoUpdate), "off", true,
			http.MethodPost, "isAllowAutoUpdateSchema", false, "set-is-allow-auto-update-schema %s --disable"},
		{"schema validation", onOff(&p.Validation), "on", true,
			http.MethodPost, "schemaValidationEnforced", true, "set-schema-validation-enforce %s --enable"},
		{"automatic topic creation", onOff(p.AutoCreation.allow()), "off", true,
			http.MethodPost, "autoTopicCreation", autoCreation{false}, "set-auto-topic-creation %s --disable"},
		{"deletion of inactive topics", onOff(p.Inactive.delete()), "off", true,
			http.MethodPost, "inactiveTopicPolicies", inactivePolicies{"delete_when_no_subscriptions", 60, false},
			"set-inactive-topic-policies %s --disable-delete-while-inactive --delete-mode delete_when_no_subscriptions --max-inactive-duration 60s"},
	}
}

const retentionName = "retention"

// CheckNamespace implements Admin.
func (p *Pulsar) CheckNamespace(ctx context.Context, namespace string, want NamespacePolicy) ([]Deviation, error) {
	have, found, err := p.namespace(ctx, namespace)
	if err != nil {
		return nil, err
	}
	if !found {
		return []Deviation{{Policy: missingNamespace, Have: "missing", Want: "present", Fatal: true,
			Fix: "pulsar-admin namespaces create " + namespace}}, nil
	}
	var all []Deviation
	for _, q := range policies(have, want) {
		if q.have != q.want {
			all = append(all, Deviation{q.name, q.have, q.want, q.fatal, q.name == retentionName && have.Retention.exceeds(want.Retention.wire()),
				"pulsar-admin namespaces " + fmt.Sprintf(q.fix, namespace)})
		}
	}
	return all, nil
}

// EnsureNamespace implements Admin.
func (p *Pulsar) EnsureNamespace(ctx context.Context, namespace string, want NamespacePolicy) ([]string, error) {
	have, found, err := p.namespace(ctx, namespace)
	if err != nil {
		return nil, err
	}
	var changed []string
	if !found {
		created, err := p.createNamespace(ctx, namespace)
		if err != nil {
			return nil, err
		}
		if created {
			changed = append(changed, "namespace "+namespace+" created")
		}
		if have, _, err = p.namespace(ctx, namespace); err != nil {
			return changed, err
		}
	}
	for _, q := range policies(have, want) {
		if q.have == q.want {
			continue
		}
		if err := p.setPolicy(ctx, namespace, q); err != nil {
			return changed, err
		}
		changed = append(changed, fmt.Sprintf("%s: %s -> %s", q.name, q.have, q.want))
	}
	return changed, nil
}

// createNamespace reports whether it was this call that created it.
func (p *Pulsar) createNamespace(ctx context.Context, namespace string) (bool, error) {
	_, err := p.rest.call(ctx, http.MethodPut, "/namespaces/"+namespace, struct{}{}, nil)
	switch status(err) {
	case http.StatusConflict: // another instance was faster
		return false, nil
	case http.StatusNotFound:
		tenant, _, _ := strings.Cut(namespace, "/")
		return false, ErrAdmin.Wrap(err, "creating the namespace %s", namespace).Fix("Run `pulsar-admin tenants create %s`.", tenant)
	}
	return err == nil, err
}

func (p *Pulsar) setPolicy(ctx context.Context, namespace string, q policy) error {
	_, err := p.rest.call(ctx, q.method, "/namespaces/"+namespace+"/"+q.path, q.body, nil)
	return err
}

// SetNamespacePolicy does one thing of EnsureNamespace: it sets the policy of that
// name, as Deviation.Policy has it, or creates the namespace.
func (p *Pulsar) SetNamespacePolicy(ctx context.Context, namespace, name string, want NamespacePolicy) error {
	if name == missingNamespace {
		_, err := p.createNamespace(ctx, namespace)
		return err
	}
	for _, q := range policies(namespacePolicies{}, want) {
		if q.name == name {
			return p.setPolicy(ctx, namespace, q)
		}
	}
	return ErrConfig.New("%q is no policy of a namespace", name)
}

// NewNamespace lists what differs in a namespace that has just been created.
func NewNamespace(want NamespacePolicy) []Deviation {
	var all []Deviation
	for _, q := range policies(namespacePolicies{}, want) {
		if q.have != q.want {
			all = append(all, Deviation{Policy: q.name, Have: "the broker's default", Want: q.want, Fatal: q.fatal})
		}
	}
	return all
}

// Topics returns the full names of a namespace's partitioned topics.
func (p *Pulsar) Topics(ctx context.Context, namespace string) ([]string, error) {
	var all []string
	_, err := p.rest.call(ctx, http.MethodGet, "/persistent/"+namespace+"/partitioned", nil, &all)
	if status(err) == http.StatusNotFound {
		return nil, nil // no such namespace
	}
	return all, err
}

// namespace reads the policies; false when there is no such namespace.
func (p *Pulsar) namespace(ctx context.Context, namespace string) (namespacePolicies, bool, error) {
	tenant, name, ok := strings.Cut(namespace, "/")
	if !ok || !validName(tenant) || !validName(name) {
		return namespacePolicies{}, false, ErrConfig.New("%q is not a namespace of the form tenant/name", namespace)
	}
	var have namespacePolicies
	_, err := p.rest.call(ctx, http.MethodGet, "/namespaces/"+namespace, nil, &have)
	if status(err) == http.StatusNotFound {
		if stranger(err) {
			return namespacePolicies{}, false, ErrWrongServer.Wrap(err, "%s answers, but not as Pulsar's admin interface does", p.rest.base)
		}
		return namespacePolicies{}, false, nil
	}
	return have, err == nil, err
}

// allow is nil when the broker's default applies.
func (a *autoCreation) allow() *bool {
	if a == nil {
		return nil
	}
	return &a.Allow
}

// delete is nil when the broker's default applies.
func (i *inactivePolicies) delete() *bool {
	if i == nil {
		return nil
	}
	return &i.Delete
}

// String describes the policy.
func (p retentionPolicy) String() string {
	if p.Minutes < 0 && p.MB < 0 {
		return "forever"
	}
	return "time " + p.minutes() + ", size " + p.size()
}

// exceeds reports whether p keeps anything that less does not. nil is not known.
func (p *retentionPolicy) exceeds(less retentionPolicy) bool {
	more := func(a, b int64) bool { return b >= 0 && (a < 0 || a > b) }
	return p != nil && (more(p.Minutes, less.Minutes) || more(p.MB, less.MB))
}

func (p retentionPolicy) minutes() string {
	if p.Minutes < 0 {
		return "-1"
	}
	return itoa(p.Minutes) + "m"
}

func (p retentionPolicy) size() string {
	if p.MB < 0 {
		return "-1"
	}
	return itoa(p.MB) + "M"
}

func onOff(v *bool) string {
	switch {
	case v == nil:
		return "the broker's default"
	case *v:
		return "on"
	}
	return "off"
}

func orDefault(v string) string {
	if v == "" || v == "UNDEFINED" {
		return "the broker's default"
	}
	return v
}

func itoa(v int64) string { return strconv.FormatInt(v, 10) }

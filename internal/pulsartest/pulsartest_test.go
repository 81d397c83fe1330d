package pulsartest

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func namespaces(t *testing.T) []string {
	t.Helper()
	var names []string
	if err := json.Unmarshal(Admin(t, http.MethodGet, "/admin/v2/namespaces/public", nil), &names); err != nil {
		t.Fatal(err)
	}
	return names
}

// TestNamespace makes a namespace with a topic in it; both go with the test.
func TestNamespace(t *testing.T) {
	var namespace, never string
	t.Run("inner", func(t *testing.T) {
		namespace = Namespace(t)
		never = NamespaceName(t)
		Admin(t, http.MethodPut, "/admin/v2/persistent/"+namespace+"/x/partitions", 2)
		if names := namespaces(t); !slices.Contains(names, namespace) || slices.Contains(names, never) {
			t.Fatalf("namespaces: %v", names)
		}
	})
	if slices.Contains(namespaces(t), namespace) {
		t.Fatalf("%s is still there", namespace)
	}
	if URL(t) == "" {
		t.Fatal("no URL")
	}
}

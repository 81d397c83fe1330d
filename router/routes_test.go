package router

import (
	"errors"
	"fmt"
	"testing"
)

func ExampleRoutes_Explain() {
	routes, err := NewRoutes([]RouteRule{
		{Aggregate: "order", Type: "Audit*", Topic: "order-audit"},
		{Aggregate: "legacy_*", Topic: "legacy"},
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(routes.Explain("order", "AuditLogged"))
	fmt.Println(routes.Explain("order", "OrderPlaced"))
	fmt.Println(routes.Explain("legacy_invoice", "Sent"))
	// Output:
	// {order-audit 0}
	// {order -1}
	// {legacy 1}
}

func TestBadRoutes(t *testing.T) {
	for _, rule := range []RouteRule{
		{Aggregate: "[", Topic: "t"}, {Type: "a[", Topic: "t"}, {Aggregate: "a"}, {Topic: "a/b"},
		{Topic: "a-partition-3"}, {Topic: "sp ace"},
	} {
		if _, err := NewRoutes([]RouteRule{rule}); !errors.Is(err, ErrRoute) {
			t.Errorf("%+v: error %v, want ErrRoute", rule, err)
		}
	}
}

func TestHashNamesTheRulesInOrder(t *testing.T) {
	a, _ := NewRoutes([]RouteRule{{Aggregate: "x", Topic: "t"}, {Topic: "u"}})
	b, _ := NewRoutes([]RouteRule{{Topic: "u"}, {Aggregate: "x", Topic: "t"}})
	c, _ := NewRoutes([]RouteRule{{Aggregate: "x", Topic: "t"}, {Topic: "u"}})
	if a.Hash() != c.Hash() || a.Hash() == b.Hash() {
		t.Errorf("%s, %s, %s: want the first and the last equal, and the second another", a.Hash(), b.Hash(), c.Hash())
	}
}

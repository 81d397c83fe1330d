package words

import (
	"fmt"
	"testing"
)

func TestSplit(t *testing.T) {
	for name, want := range map[string]string{
		"order_id": "[order id]", "orderId": "[order Id]", "OrderID": "[Order ID]", "HTTPServer": "[HTTP Server]", "ORDER_ID": "[ORDER ID]",
		"_1st": "[1st]", "a__b_": "[a b]", "line2Total": "[line2 Total]", "ABc": "[A Bc]", "": "[]", "_": "[]", "x": "[x]",
		"A1B": "[A1 B]", "aB_Cd": "[a B Cd]",
	} {
		if got := fmt.Sprint(Split(name)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

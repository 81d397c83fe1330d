// Command write writes the generated pages into the tree.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/runnel-cdc/runnel/internal/reference"
)

// go generate runs it in the folder of package reference.
const root = "../.."

func main() {
	for _, p := range reference.Pages() {
		if err := os.WriteFile(filepath.Join(root, p.Path), p.Text, 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

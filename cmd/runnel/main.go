// Command runnel publishes the events of a Postgres outbox to Apache Pulsar,
// exactly once. See `runnel help`, and internal/cli for what it is made of.
package main

import (
	"os"

	"github.com/runnel-cdc/runnel/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

package wire

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/catalogfile"
	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/readerinfo"
	"github.com/runnel-cdc/runnel/router"
	"github.com/runnel-cdc/runnel/schemas"
	"github.com/runnel-cdc/runnel/schemas/lint"
)

// Catalog reads a folder of .avsc files. Places in errors begin with the folder
// as it was given.
func Catalog(dir string) (*schemas.Catalog, error) {
	return schemas.Load(anyPath{}, filepath.ToSlash(filepath.Clean(dir)))
}

// Lint looks a folder of .avsc files through. Places in findings begin with the
// folder as it was given.
func Lint(dir string, o lint.Options) ([]lint.Finding, error) {
	return lint.Dir(anyPath{}, filepath.ToSlash(filepath.Clean(dir)), o)
}

// Schema reads a schema of a file, with the types that other files of its folder define.
func Schema(file string, src []byte) (*schemas.Schema, error) {
	return schemas.ParseBeside(anyPath{}, filepath.ToSlash(file), src)
}

// CatalogFile reads the catalog.yaml of a folder of .avsc files.
func CatalogFile(dir string) (catalogfile.File, error) {
	return catalogfile.Read(anyPath{}, filepath.ToSlash(filepath.Clean(dir)))
}

// CatalogWith reads the folder as if files, by name, had been written into it. The
// folder need not exist.
func CatalogWith(dir string, files map[string][]byte) (*schemas.Catalog, error) {
	root := filepath.ToSlash(filepath.Clean(dir))
	return schemas.Load(overlay{root, files}, root)
}

// anyPath opens paths as the operating system does, .. and / included, which
// os.DirFS refuses; so that errors name files as their owner does.
type anyPath struct{}

func (anyPath) Open(name string) (fs.File, error) { return os.Open(name) }

// Stat opens nothing, so that a pipe does not keep who asks what it is.
func (anyPath) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// Broker says how to reach the configured Pulsar.
func Broker(cfg *config.Config) broker.Config {
	return broker.Config{
		URL: cfg.Pulsar.URL, AdminURL: cfg.Pulsar.AdminURL, TokenFile: cfg.Pulsar.TokenFile, CAFile: cfg.Pulsar.CAFile,
		Name: "runnel " + cfg.Name, Compress: cfg.Topics.Compression == config.LZ4,
		// Whatever it reads is read with the schema that it was written with.
		Properties: readerinfo.Info{Name: "runnel", Reads: map[string]schemas.Fingerprint{}}.Properties(),
	}
}

// Rules are the configured routes as the router takes them.
func Rules(cfg *config.Config) []router.RouteRule {
	rules := make([]router.RouteRule, len(cfg.Routes))
	for i, r := range cfg.Routes {
		rules[i] = router.RouteRule{Aggregate: r.Aggregate, Type: r.Type, Topic: r.Topic}
	}
	return rules
}

// TopicName is the full name of a topic of a namespace: tenant/namespace.
func TopicName(namespace, local string) string { return "persistent://" + namespace + "/" + local }
